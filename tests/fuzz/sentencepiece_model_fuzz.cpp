#include <array>

#include "tests/fuzz/tokenizer_use.h"

using namespace layalign;

namespace {

constexpr std::array kClasses = {"T5Tokenizer",   "LlamaTokenizer", "XLMRobertaTokenizer",
                                 "NllbTokenizer", "XGLMTokenizer",  "M2M100Tokenizer"};

/// A folder a form, with all but the model.
const fuzz::ScratchFolder& folder() {
  static const fuzz::ScratchFolder made;
  static const bool written = [] {
    for (const std::string name : kClasses) {
      made.write(name + "/tokenizer_config.json", R"({"extra_ids": 3, "tokenizer_class": ")" + name + "\"}");
      made.write(name + "/special_tokens_map.json", R"({"additional_special_tokens": ["eng_Latn", "swh_Latn"]})");
      made.write(name + "/vocab.json", R"({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "▁": 4, "a": 5, "▁a": 6})");
    }
    return true;
  }();
  (void)written;
  return made;
}

}  // namespace

/// The first byte chooses the form.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  std::string_view input = fuzz::text_of(bytes, size);
  const std::filesystem::path name = kClasses[fuzz::take_choice(input, kClasses.size())];
  folder().write(name / "tokenizer.model", input);
  fuzz::accepts<data::DataError>([&] { fuzz::use(*data::load_tokenizer(folder().path() / name), fuzz::kSampleText); });
  return 0;
}
