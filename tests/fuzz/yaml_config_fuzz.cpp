#include "configs/binder.h"
#include "configs/error.h"
#include "configs/overrides.h"
#include "configs/reader.h"
#include "configs/validation.h"
#include "tests/fuzz/fuzz_input.h"

using namespace layalign;

namespace {

/// load_config without its file.
configs::RunConfig read_config(std::string_view text, std::string_view assignment) {
  configs::Node document = configs::read_document(text, "fuzzed.yaml");
  if (!assignment.empty()) configs::apply_override(document, std::string(assignment));
  configs::Report report;
  configs::RunConfig config = configs::bind(document, report);
  configs::validate(config, report);
  report.throw_problems();
  return config;
}

}  // namespace

/// A config file and, behind a NUL byte, what stands behind --set.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const auto parts = fuzz::parts_of(fuzz::text_of(bytes, size), 2);
  configs::RunConfig config;
  if (!fuzz::accepts<configs::ConfigError>([&] { config = read_config(parts[0], parts[1]); })) return 0;
  const configs::RunConfig again = read_config(configs::to_yaml(config), "");
  fuzz::require(configs::differences(config, again).empty(), "a config that is written is read back");
  return 0;
}
