#include "model/encoder.h"

#include "model/hf_config.h"
#include "model/t5_encoder.h"

namespace layalign::model {
namespace {

T5Config read_t5(const std::filesystem::path& folder, const std::vector<std::string>& ignored_fields) {
  HfConfig config(folder);
  if (config.model_type() != "t5" && config.model_type() != "mt5") {
    config.refuse("model_type", "this encoder is not supported; t5 and mt5 are");
  }
  return T5Config::read(config, ignored_fields);
}

}  // namespace

EncoderInfo read_encoder_info(const std::filesystem::path& folder, const std::vector<std::string>& ignored_fields) {
  return read_t5(folder, ignored_fields).info;
}

std::unique_ptr<Encoder> load_encoder(const std::filesystem::path& folder, at::Device device, at::ScalarType type,
                                      const std::vector<std::string>& ignored_fields) {
  return std::make_unique<T5Encoder>(folder, read_t5(folder, ignored_fields), device, type);
}

}  // namespace layalign::model
