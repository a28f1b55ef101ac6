#include "configs/strict_json.h"
#include "tests/fuzz/fuzz_input.h"

using namespace layalign;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  nlohmann::json value;
  const bool accepted = fuzz::accepts<configs::JsonError>(
      [&] { value = configs::parse_json(fuzz::text_of(bytes, size), "fuzzed.json"); });
  if (!accepted) return 0;
  fuzz::require(configs::parse_json(value.dump(), "written.json") == value, "what is written is read back");
  fuzz::require(nlohmann::json::parse(bytes, bytes + size) == value, "the library reads the same");
  return 0;
}
