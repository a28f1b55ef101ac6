#include "trainer/adapter_scores.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "checkpoints_tools/error.h"
#include "configs/strict_json.h"
#include "trainer/run_folder.h"
#include "trainer/trainables_file.h"

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;
using checkpoints_tools::CheckpointError;

/// Reads a file of results with `take`; every failure names it.
template <class Take>
void read_results(const fs::path& path, Take take) {
  try {
    take(configs::read_text_file(path));
  } catch (const nlohmann::json::exception& error) {
    throw CheckpointError(path.string() + ": not a file of results as layalign writes it (" + error.what() +
                          "); move it away to export without its scores");
  } catch (const std::runtime_error& error) {  // of the system or of the JSON, with the path
    throw CheckpointError(std::string(error.what()) + "; move the file away to export without its scores");
  }
}

/// Whether the evaluation in `folder` was made with the weights of this hash.
bool is_of_weights(const fs::path& folder, const std::string& hash) {
  const fs::path path = folder / "outputs.jsonl";
  bool same = false;
  if (!fs::exists(path)) return same;
  read_results(path, [&](const std::string& text) {
    const nlohmann::json first = configs::parse_json(text.substr(0, text.find('\n')), path.string() + ":1");
    same = first.at("identity").value("trainables", "") == hash;
  });
  return same;
}

/// The accuracies of all results files, those of a later one instead of an earlier one's.
void add_benchmarks(const fs::path& folder, std::vector<AdapterScore>& scores) {
  std::set<fs::path> files;  // their names begin alike and end with the date
  if (!fs::is_directory(folder)) return;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("results_") && name.ends_with(".json")) files.insert(entry.path());
  }
  std::map<std::string, AdapterScore> by_name;
  for (const fs::path& path : files) {
    read_results(path, [&](const std::string& text) {
      const nlohmann::json json = configs::parse_json(text, path.string());
      for (const auto& [name, result] : json.at("results").items()) {
        if (!result.contains("acc,none")) continue;
        by_name[name] = {name, "accuracy", result.at("acc,none").get<double>(), result.value("sample_len", int64_t{0})};
      }
    });
  }
  for (const auto& [name, score] : by_name) scores.push_back(score);
}

/// The held-out perplexity at the end of the stage whose trainables are `weights`.
void add_perplexity(const fs::path& run, const fs::path& weights, std::vector<AdapterScore>& scores) {
  const fs::path path = run / RunFolder::kSummary;
  if (!fs::exists(path)) return;
  read_results(path, [&](const std::string& text) {
    const nlohmann::json json = configs::parse_json(text, path.string());
    for (const nlohmann::json& stage : json.at("stages")) {
      const fs::path trainables = run / stage.at("trainables").get<std::string>();
      if (!fs::exists(trainables) || !fs::equivalent(trainables, weights)) continue;
      if (stage.at("last_perplexity").is_null()) continue;
      scores.push_back({"held-out perplexity", "perplexity", stage.at("last_perplexity").get<double>(), 0});
      for (const auto& [language, value] : stage.at("language_perplexity").items()) {
        if (value.is_null() || language == "none") continue;  // ids have no language
        scores.push_back({"held-out perplexity (" + language + ")", "perplexity", value.get<double>(), 0});
      }
    }
  });
}

/// The tensors as the flat buffer of a training has them.
at::Tensor flat_of(const checkpoints_tools::TensorMap& tensors, const model::TrainableSizes& sizes) {
  std::vector<at::Tensor> parts;
  for (const auto& [name, shape] : model::trainable_layout(sizes)) {
    parts.push_back(tensors.at(name).to(at::kFloat).flatten());
  }
  return at::cat(parts);
}

}  // namespace

std::vector<AdapterScore> find_scores(const CheckpointPlace& place, const checkpoints_tools::TensorMap& tensors,
                                      const model::TrainableSizes& sizes) {
  std::vector<AdapterScore> scores;
  const fs::path run = place.run();
  if (run.empty()) return scores;
  const fs::path evaluation = run / RunFolder::kEvaluation;
  if (is_of_weights(evaluation, trainables_hash(flat_of(tensors, sizes)))) add_benchmarks(evaluation / "layalign", scores);
  add_perplexity(run, place.weights(), scores);
  return scores;
}

}  // namespace layalign::trainer
