#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoints_tools/safetensors.h"
#include "tests/cli/evaluation_run.h"

namespace layalign::test {

inline const std::filesystem::path kGolden = std::filesystem::path(LAYALIGN_TEST_DATA) / "golden";

/// A golden file as a config, its samples as the input.
struct GoldenInput {
  GoldenInput(const WorkFolder& folder, const std::string& golden, const std::string& encoder, const std::string& llm,
              int tensor)
      : path(kGolden / (golden + ".safetensors")),
        file(path),
        samples(nlohmann::json::parse(file.metadata().at("samples"))) {
    std::string corpus;
    for (const auto& sample : samples) corpus += sample.dump() + "\n";
    input = folder.write("in.jsonl", corpus).string();
    const auto& metadata = file.metadata();
    nlohmann::json model = {
        {"encoder", (kGolden / "models" / encoder).string()}, {"llm", llm}, {"structure", metadata.at("structure")}};
    for (const char* kind : {"mapping", "aligner", "gate"}) {
      if (metadata.contains(kind)) model[kind] = metadata.at(kind);
    }
    for (const char* layers : {"encoder_layers", "language_layers"}) {
      if (const auto list = nlohmann::json::parse(metadata.at(layers)); !list.empty()) model[layers] = list;
    }
    config = {{"model", model},
              {"parallel", {{"tensor", tensor}, {"device", "cpu"}}},
              {"stages", {{{"corpus", {{"format", "token_ids"}, {"path", input}}}}}}};
    arguments = folder.write("c.json", config.dump()).string() + " --checkpoint " + path.string() +
                " --task token_ids --max-new-tokens 16 --batch 2";
  }

  std::vector<int64_t> ids(size_t sample) const {
    const auto tensor = file.read("sample" + std::to_string(sample) + ".generate");
    return {tensor.const_data_ptr<int64_t>(), tensor.const_data_ptr<int64_t>() + tensor.numel()};
  }

  std::filesystem::path path;
  checkpoints_tools::SafetensorsFile file;
  nlohmann::json samples;
  nlohmann::json config;
  std::string input, arguments;  ///< the samples; the command line of layalign-eval
};

/// The ids that a token_ids run wrote into a folder, which holds one file.
inline std::vector<std::vector<int64_t>> written_ids(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) files.push_back(entry.path());
  EXPECT_EQ(files.size(), 1u);
  std::vector<std::vector<int64_t>> ids;
  for (const auto& line : read_jsonl(files.at(0))) ids.push_back(line.at("ids"));
  return ids;
}

}  // namespace layalign::test
