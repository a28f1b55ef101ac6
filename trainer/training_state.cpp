#include "trainer/training_state.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "checkpoints_tools/file_operations.h"
#include "checkpoints_tools/hash.h"
#include "checkpoints_tools/mapped_file.h"
#include "checkpoints_tools/verification.h"
#include "configs/strict_json.h"
#include "trainer/durable_file.h"
#include "trainer/run_folder.h"

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;
using checkpoints_tools::CheckpointError;
using Json = nlohmann::ordered_json;

constexpr int64_t kFormatVersion = 4;
constexpr const char* kState = "state.json";
constexpr const char* kManifest = "manifest.json";
constexpr const char* kLatest = "latest";

std::string step_name(int64_t step) {
  std::array<char, 32> name{};
  std::snprintf(name.data(), name.size(), "step-%08lld", static_cast<long long>(step));
  return name.data();
}

/// The step of a folder "step-XXXXXXXX"; nothing for another name.
std::optional<int64_t> step_of(const std::string& folder_name) {
  int64_t step = 0;
  if (!folder_name.starts_with("step-")) return std::nullopt;
  std::from_chars(folder_name.data() + 5, folder_name.data() + folder_name.size(), step);
  return folder_name == step_name(step) ? std::optional(step) : std::nullopt;
}

std::string moments_name(int64_t rank, int64_t ranks) {
  std::array<char, 64> name{};
  std::snprintf(name.data(), name.size(), "moments-%05lld-of-%05lld.safetensors", static_cast<long long>(rank),
                static_cast<long long>(ranks));
  return name.data();
}

TrainableLayout layout_of_share(const ElementRange& range) {
  return {{"exp_avg", {range.end - range.begin}}, {"exp_avg_sq", {range.end - range.begin}}};
}

std::string state_text(const TrainingState& state) {
  Json trainables = Json::array();
  for (const auto& [name, shape] : state.layout) trainables.push_back({{"name", name}, {"shape", shape}});
  const bool evaluated = std::isfinite(state.best_perplexity);
  return Json{{"format_version", kFormatVersion},
              {"stage_index", state.stage_index},
              {"step", state.step},
              {"best_perplexity", evaluated ? Json(state.best_perplexity) : Json(nullptr)},
              {"best_accuracy", state.best_accuracy},
              {"accuracy_rule", state.accuracy_rule},
              {"cache_choice", state.cache_choice},
              {"skipped_steps", state.skipped_steps},
              {"evaluation_due", state.evaluation_due},
              {"elapsed_s", state.elapsed_s},
              {"encoder_fingerprint", state.encoder_fingerprint},
              {"encoder_weights", state.encoder_weights},
              {"llm_fingerprint", state.llm_fingerprint},
              {"encoder_tokenizer_fingerprint", state.encoder_tokenizer_fingerprint},
              {"llm_tokenizer_fingerprint", state.llm_tokenizer_fingerprint},
              {"model_configs", state.model_configs},
              {"corpus_fingerprints", state.corpus_fingerprints},
              {"split_fingerprints", state.split_fingerprints},
              {"initial_weights", state.initial_weights},
              {"world_size", state.world_size},
              {"tp_size", state.tp_size},
              {"threads", state.threads},
              {"processors", state.processors},
              {"trainables", trainables}}
             .dump(2) +
         "\n";
}

TrainingState parse_state(const nlohmann::json& json) {
  TrainingState state;
  state.stage_index = json.at("stage_index").get<int64_t>();
  state.step = json.at("step").get<int64_t>();
  state.best_accuracy = json.at("best_accuracy").get<double>();
  if (!json.at("best_perplexity").is_null()) state.best_perplexity = json.at("best_perplexity").get<double>();
  state.accuracy_rule = json.at("accuracy_rule").get<std::string>();
  state.cache_choice = json.at("cache_choice").get<std::string>();
  state.skipped_steps = json.at("skipped_steps").get<int64_t>();
  state.evaluation_due = json.at("evaluation_due").get<bool>();
  state.elapsed_s = json.at("elapsed_s").get<double>();
  state.encoder_fingerprint = json.at("encoder_fingerprint").get<std::string>();
  state.encoder_weights = json.at("encoder_weights").get<std::string>();
  state.llm_fingerprint = json.at("llm_fingerprint").get<std::string>();
  state.encoder_tokenizer_fingerprint = json.at("encoder_tokenizer_fingerprint").get<std::string>();
  state.llm_tokenizer_fingerprint = json.at("llm_tokenizer_fingerprint").get<std::string>();
  state.corpus_fingerprints = json.at("corpus_fingerprints").get<std::vector<std::string>>();
  state.world_size = json.at("world_size").get<int64_t>();
  state.tp_size = json.at("tp_size").get<int64_t>();
  state.threads = json.at("threads").get<int64_t>();
  // What checkpoints of this version had not from the beginning.
  using Names = std::vector<std::string>;
  state.model_configs = json.value("model_configs", Names());
  state.split_fingerprints = json.value("split_fingerprints", Names());
  state.initial_weights = json.value("initial_weights", "");
  state.processors = json.value("processors", "");
  for (const nlohmann::json& tensor : json.at("trainables")) {
    state.layout.emplace_back(tensor.at("name").get<std::string>(), tensor.at("shape").get<std::vector<int64_t>>());
  }
  return state;
}

nlohmann::json read_json(const fs::path& path) {
  return configs::parse_json(configs::read_text_file(path), path.string());
}

[[noreturn]] void throw_other_version(const fs::path& path, int64_t version) {
  throw OtherVersionError(path.string() + ": was written by another version of layalign (format_version " +
                          std::to_string(version) + ", this one reads " + std::to_string(kFormatVersion) + "); go on with that version, or choose another output");
}

/// The state's JSON, whose bytes are those of the manifest.
nlohmann::json read_state(const fs::path& path, int64_t manifest_version) {
  const nlohmann::json json = read_json(path);
  const auto version = json.at("format_version").get<int64_t>();
  if (version != manifest_version) throw CheckpointError(path.string() + ": is of another format_version than " + kManifest);
  if (version != kFormatVersion) throw_other_version(path, version);
  return json;
}

Json file_entry(const fs::path& path) {
  const checkpoints_tools::MappedFile file(path);
  return {{"bytes", file.bytes().size()}, {"xxh3", checkpoints_tools::xxh3_hex(file.bytes())}};
}

std::string manifest_text(const fs::path& folder, const std::vector<MomentsFile>& moments) {
  Json files = Json::object(), shares = Json::array();
  for (const char* name : {RunFolder::kTrainables, kState}) files[name] = file_entry(folder / name);
  for (const MomentsFile& file : moments) {
    files[file.name] = {{"bytes", file.bytes}, {"xxh3", file.xxh3}};
    shares.push_back({{"file", file.name}, {"begin", file.range.begin}, {"end", file.range.end}});
  }
  return Json{{"format_version", kFormatVersion}, {"files", files}, {"moments", shares}}.dump(2) + "\n";
}

/// Compares every file with its entry; the files of the form that this program reads must all be listed.
nlohmann::json read_manifest(const fs::path& folder) {
  const fs::path path = folder / kManifest;
  nlohmann::json manifest = read_json(path);
  const auto version = manifest.at("format_version").get<int64_t>();
  const nlohmann::json& files = manifest.at("files");
  std::vector<std::string> names{RunFolder::kTrainables, kState};
  if (version == kFormatVersion) {
    for (const auto& share : manifest.at("moments")) names.push_back(share.at("file").get<std::string>());
  } else if (!files.contains(kState)) {
    throw_other_version(path, version);
  }
  for (const std::string& name : names) {
    const std::string wrong = checkpoints_tools::manifest_mismatch(folder / name, files.at(name));
    if (!wrong.empty()) throw CheckpointError((folder / name).string() + ": " + wrong);
  }
  return manifest;
}

/// Both moments from the files of the ranks, whose shares must lie one behind the other.
void read_moments(const fs::path& folder, const nlohmann::json& shares, TrainingState& state) {
  const int64_t numel = state.masters.numel();
  state.exp_avg = at::empty({numel}, at::kFloat);
  state.exp_avg_sq = at::empty({numel}, at::kFloat);
  int64_t next = 0;
  for (const nlohmann::json& share : shares) {
    const ElementRange range{share.at("begin").get<int64_t>(), share.at("end").get<int64_t>()};
    if (range.begin != next || range.end < range.begin || range.end > numel) break;
    const at::Tensor both = load_trainables(folder / share.at("file").get<std::string>(), layout_of_share(range));
    const int64_t size = range.end - range.begin;
    state.exp_avg.narrow(0, range.begin, size).copy_(both.narrow(0, 0, size));
    state.exp_avg_sq.narrow(0, range.begin, size).copy_(both.narrow(0, size, size));
    next = range.end;
  }
  if (next == numel) return;
  throw CheckpointError((folder / kManifest).string() + ": 'moments' has no share behind element " + std::to_string(next) + " of " +
                        std::to_string(numel));
}

/// Removes a step folder so that a crash in between, or a loss of power, leaves no half of it under its name.
void remove_step_folder(const fs::path& folder) {
  fs::path doomed = folder;
  doomed += ".tmp";
  checkpoints_tools::remove_folder(doomed);
  checkpoints_tools::rename_file(folder, doomed);
  checkpoints_tools::flush_folder_of(folder);
  checkpoints_tools::remove_folder(doomed);
}

void purge(const fs::path& stage_folder, int64_t step, const KeepRule& keep) {
  int64_t kept = 0;
  for (const auto& [found, folder] : step_folders(stage_folder)) {
    const bool is_newest = found <= step && kept < std::max<int64_t>(1, keep.newest);
    if (is_newest) ++kept;
    const bool stays = is_newest || (found <= step && keep.every && found % *keep.every == 0);
    if (!stays) remove_step_folder(folder);
  }
}

/// What the first rank writes beside the manifest; the entry of its share of the moments.
MomentsFile write_own_files(const fs::path& folder, const TrainingState& state, int64_t ranks) {
  save_trainables(folder / RunFolder::kTrainables, state.layout, state.masters);
  write_file_durably(folder / kState, state_text(state));
  return save_moments(folder, state.exp_avg, state.exp_avg_sq, {0, state.exp_avg.numel()}, 0, ranks);
}

std::vector<MomentsFile> write_with_others(const fs::path& folder, const TrainingState& state, OtherShares& others) {
  others.begin(folder);
  std::vector<MomentsFile> moments;
  try {
    moments.push_back(write_own_files(folder, state, state.world_size));
  } catch (...) {
    try {
      others.finish();  // nobody writes any more when the folder is removed
    } catch (const IoError&) {
      // the first failure is the one to tell
    }
    throw;
  }
  std::ranges::move(others.finish(), std::back_inserter(moments));
  return moments;
}

void write_files(const fs::path& folder, const TrainingState& state, OtherShares* others) {
  const auto moments = others ? write_with_others(folder, state, *others) : std::vector{write_own_files(folder, state, 1)};
  write_file_durably(folder / kManifest, manifest_text(folder, moments));
}

}  // namespace

bool is_step_folder(const std::string& folder_name) { return step_of(folder_name).has_value(); }

std::map<int64_t, fs::path, std::greater<>> step_folders(const fs::path& stage_folder) {
  std::map<int64_t, fs::path, std::greater<>> folders;
  if (!fs::is_directory(stage_folder)) return folders;
  for (const fs::directory_entry& entry : fs::directory_iterator(stage_folder)) {
    const fs::path target = name_of_replaced(entry.path());
    const auto step = step_of(target.filename().string());
    if (step && (target == entry.path() || !fs::exists(target))) folders.emplace(*step, entry.path());
  }
  return folders;
}

ElementRange share_of(int64_t numel, int64_t rank, int64_t ranks) {
  return {numel / ranks * rank + std::min(rank, numel % ranks), numel / ranks * (rank + 1) + std::min(rank + 1, numel % ranks)};
}

MomentsFile save_moments(const fs::path& folder, const at::Tensor& exp_avg, const at::Tensor& exp_avg_sq, ElementRange range,
                         int64_t rank, int64_t ranks) {
  MomentsFile file{moments_name(rank, ranks), range};
  save_trainables(folder / file.name, layout_of_share(range), at::cat({exp_avg, exp_avg_sq}));
  as_io_error([&] {
    const checkpoints_tools::MappedFile written(folder / file.name);
    file.bytes = static_cast<int64_t>(written.bytes().size());
    file.xxh3 = checkpoints_tools::xxh3_hex(written.bytes());
  });
  return file;
}

void save_training_state(const fs::path& stage_folder, const TrainingState& state, const KeepRule& keep, OtherShares* others) {
  const std::string name = step_name(state.step);
  write_folder_durably(stage_folder / name, [&](const fs::path& folder) { write_files(folder, state, others); });
  write_file_durably(stage_folder.parent_path() / kLatest, (stage_folder.filename() / name).string() + "\n");
  as_io_error([&] { purge(stage_folder, state.step, keep); });
}

TrainingState load_training_state(const fs::path& step_folder) {
  try {
    const nlohmann::json manifest = read_manifest(step_folder);
    TrainingState state = parse_state(read_state(step_folder / kState, manifest.at("format_version").get<int64_t>()));
    state.masters = load_trainables(step_folder / RunFolder::kTrainables, state.layout);
    read_moments(step_folder, manifest.at("moments"), state);
    return state;
  } catch (const CheckpointError&) {
    throw;
  } catch (const configs::JsonError& error) {
    throw CheckpointError(error.what());
  } catch (const std::system_error& error) {
    throw CheckpointError(error.what());
  } catch (const nlohmann::json::exception& error) {
    throw CheckpointError(step_folder.string() + ": " + kManifest + " or " + kState +
                          " lacks what it must hold: " + error.what());
  }
}

std::optional<TrainingState> newest_training_state(const std::vector<fs::path>& stage_folders,
                                                   std::vector<std::string>* warnings) {
  std::string damaged;
  for (auto stage = stage_folders.rbegin(); stage != stage_folders.rend(); ++stage) {
    for (const auto& [step, folder] : as_io_error([&] { return step_folders(*stage); })) {
      try {
        return load_training_state(folder);
      } catch (const OtherVersionError&) {
        throw;  // it is whole: older ones would lose what it holds
      } catch (const CheckpointError& error) {
        if (warnings != nullptr) warnings->push_back(folder.string() + " is damaged and passed over: " + error.what());
        damaged += "\n  " + folder.string();
      }
    }
  }
  if (!damaged.empty()) {
    throw CheckpointError("all checkpoints of this run are damaged; remove them to begin anew, or choose another output:" + damaged);
  }
  return std::nullopt;
}

}  // namespace layalign::trainer
