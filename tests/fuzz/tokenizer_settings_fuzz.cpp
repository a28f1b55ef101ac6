#include "configs/strict_json.h"
#include "tests/fuzz/tokenizer_use.h"

using namespace layalign;

namespace {

constexpr const char* kFiles[] = {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                                  "config.json"};

/// A folder with a small SentencePiece model and a small tokenizer.json, beside which the fuzzed files lie.
const fuzz::ScratchFolder& folder() {
  static const fuzz::ScratchFolder made;
  static const auto copy = [](const std::string& from, const char* name) {
    made.write(name, configs::read_text_file(LAYALIGN_TEST_DATA + ("/tokenizers/" + from)));
    return true;
  };
  static const bool copied =
      copy("m2m100/bpe.model", "spiece.model") && copy("llama2/tokenizer.json", "tokenizer.json");
  (void)copied;
  return made;
}

}  // namespace

/// The files, cut at NUL bytes; an empty one is not there.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const auto parts = fuzz::parts_of(fuzz::text_of(bytes, size), std::size(kFiles));
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].empty()) {
      std::filesystem::remove(folder().path() / kFiles[i]);
    } else {
      folder().write(kFiles[i], parts[i]);
    }
  }
  fuzz::accepts<data::DataError>([&] { fuzz::use(*data::load_tokenizer(folder().path()), fuzz::kSampleText); });
  return 0;
}
