#include "model/error.h"
#include "model/hf_config.h"
#include "tests/fuzz/fuzz_input.h"

using namespace layalign;

namespace {

using Ask = void (*)(model::HfConfig&);

constexpr Ask kQuestions[] = {
    [](model::HfConfig& config) { config.count("hidden_size"); },
    [](model::HfConfig& config) { config.count_or("num_key_value_heads", 1); },
    [](model::HfConfig& config) { config.number_or("rms_norm_eps", 1e-6); },
    [](model::HfConfig& config) { config.flag_or("tie_word_embeddings", false); },
    [](model::HfConfig& config) { config.text_or("hidden_act", "silu"); },
    [](model::HfConfig& config) { config.token_id("bos_token_id"); },
    [](model::HfConfig& config) { config.token_ids("eos_token_id"); },
    [](model::HfConfig& config) { config.finish({"vocab_size"}); },
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const fuzz::ScratchFolder folder;
  folder.write("config.json", fuzz::text_of(bytes, size));
  fuzz::accepts<model::ModelError>([&] {
    model::HfConfig config(folder.path());
    for (const Ask ask : kQuestions) fuzz::accepts<model::ModelError>([&] { ask(config); });
  });
  return 0;
}
