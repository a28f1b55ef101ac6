#include "tests/fuzz/tokenizer_use.h"

using namespace layalign;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const fuzz::ScratchFolder folder;
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"})");
  folder.write("tokenizer.json", fuzz::text_of(bytes, size));
  fuzz::accepts<data::DataError>([&] { fuzz::use(*data::load_tokenizer(folder.path()), fuzz::kSampleText); });
  return 0;
}
