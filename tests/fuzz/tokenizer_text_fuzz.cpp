#include <array>

#include "tests/fuzz/tokenizer_use.h"

using namespace layalign;

namespace {

constexpr std::array kFolders = {"tokenizers/bert",    "tokenizers/gpt2",    "tokenizers/llama2",
                                 "tokenizers/llama3",  "tokenizers/mixed",   "tokenizers/qwen",
                                 "tokenizers/roberta", "tokenizers/unigram", "golden/models/llama",
                                 "golden/models/mt5",  "golden/models/nllb", "golden/models/xlmr"};

const data::Tokenizer& tokenizer(size_t place) {
  static const auto loaded = [] {
    std::array<std::unique_ptr<data::Tokenizer>, kFolders.size()> all;
    for (size_t i = 0; i < all.size(); ++i)
      all[i] = data::load_tokenizer(LAYALIGN_TEST_DATA + ("/" + std::string(kFolders[i])));
    return all;
  }();
  return *loaded[place];
}

}  // namespace

/// The first byte chooses the tokenizer, the rest is a text.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  std::string_view input = fuzz::text_of(bytes, size);
  const size_t place = fuzz::take_choice(input, kFolders.size());
  fuzz::use(tokenizer(place), input);
  return 0;
}
