#include "checkpoints_tools/safetensors_checksum.h"

#include <nlohmann/json.hpp>

namespace layalign::checkpoints_tools {

Xxh3 begin_checksum(const SafetensorsHeader& header) {
  nlohmann::json told = nlohmann::json::object();
  nlohmann::json& metadata = told[std::string(kMetadataKey)] = header.metadata;
  metadata.erase(kChecksumKey);
  for (const auto& [name, tensor] : header.tensors) {
    told[name] = {{"dtype", tensor.dtype},
                  {"shape", tensor.shape},
                  {"data_offsets", {tensor.begin - header.data_begin, tensor.end - header.data_begin}}};
  }
  Xxh3 hash;
  // The header of a file that was read is valid UTF-8; a writer refuses other names itself.
  hash.update(told.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  return hash;
}

}  // namespace layalign::checkpoints_tools
