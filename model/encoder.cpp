#include "model/encoder.h"

#include <functional>
#include <map>

#include "model/bert_encoder.h"
#include "model/error.h"
#include "model/fairseq_encoder.h"
#include "model/gpt2_encoder.h"
#include "model/llm_encoder.h"
#include "model/t5_encoder.h"

namespace layalign::model {
namespace {

using Folder = std::filesystem::path;
using Fields = std::vector<std::string>;

/// How the models of one architecture are read.
struct Family {
  std::function<EncoderInfo(HfConfig&, const Fields&)> info;
  std::function<std::unique_ptr<Encoder>(const Folder&, HfConfig&, const Fields&, at::Device, at::ScalarType)> load;
};

template <typename FamilyEncoder, typename FamilyConfig>
Family family() {
  return {[](HfConfig& config, const Fields& ignored) { return FamilyConfig::read(config, ignored).info; },
          [](const Folder& folder, HfConfig& config, const Fields& ignored, at::Device device, at::ScalarType type) {
            return std::make_unique<FamilyEncoder>(folder, FamilyConfig::read(config, ignored), device, type);
          }};
}

const Family& family_of(const HfConfig& config) {
  static const auto t5 = family<T5Encoder, T5Config>();
  static const auto fairseq = family<FairseqEncoder, FairseqConfig>();
  static const auto bert = family<BertEncoder, BertConfig>();
  static const auto gpt2 = family<Gpt2Encoder, Gpt2Config>();
  static const auto llm = family<LlmEncoder, LlmEncoderConfig>();
  static const std::map<std::string, Family> families = {
      {"t5", t5},     {"mt5", t5},       {"m2m_100", fairseq},  {"xglm", fairseq},
      {"bert", bert}, {"roberta", bert}, {"xlm-roberta", bert}, {"gpt2", gpt2},
      {"llama", llm}, {"mistral", llm},  {"qwen2", llm},        {"qwen3", llm}};
  const auto found = families.find(config.model_type());
  if (found != families.end()) return found->second;
  std::string supported;
  for (const auto& [name, _] : families) supported += (supported.empty() ? "" : ", ") + name;
  config.refuse("model_type", "this encoder is not supported; " + supported + " are");
}

}  // namespace

void EncoderInfo::check_source_length(int64_t tokens) const {
  if (max_tokens && tokens > *max_tokens) {
    throw ModelError("the " + model_type + " encoder reads sources of at most " + std::to_string(*max_tokens) +
                     " tokens, but those of this run have up to " + std::to_string(tokens) +
                     ". Lower max_source_tokens, or shorten the sources of a corpus of token ids");
  }
}

EncoderInfo read_encoder_info(const Folder& folder, const Fields& ignored_fields) {
  HfConfig config(folder);
  return family_of(config).info(config, ignored_fields);
}

std::unique_ptr<Encoder> load_encoder(const Folder& folder, at::Device device, at::ScalarType type,
                                      const Fields& ignored_fields) {
  HfConfig config(folder);
  return family_of(config).load(folder, config, ignored_fields, device, type);
}

}  // namespace layalign::model
