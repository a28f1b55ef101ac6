#include "trainer/run_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <functional>
#include <set>
#include <string_view>
#include <thread>

#include "checkpoints_tools/file_lock.h"
#include "checkpoints_tools/file_operations.h"
#include "configs/error.h"
#include "configs/reader.h"
#include "configs/strict_json.h"
#include "trainer/durable_file.h"
#include "trainer/log.h"

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLock = ".lock";
constexpr const char* kLeftover = ".tmp";  // how the names of unfinished files and folders end
constexpr const char* kWayOut = "; choose another `output`, or remove that folder";

constexpr std::array<std::string_view, 5> kFiles{"model.encoder", "model.llm", "model.init", "data.root",
                                                 "stages.corpus.path"};

/// The key of a line of configs::differences, that of a stage without its number: "stages.lr".
std::string compared_key(const std::string& difference) {
  std::string key = difference.substr(0, difference.find(": "));
  constexpr std::string_view kStages = "stages.";
  if (key.starts_with(kStages)) key.erase(kStages.size(), key.find('.', kStages.size()) + 1 - kStages.size());
  return key;
}

/// Whether a key says where files lie: not their place, but what is in them must be the same, which fingerprints tell
/// later.
bool is_place(const std::string& key) { return std::ranges::find(kFiles, key) != kFiles.end(); }

/// Whether a resume may differ in this key: it changes how the run is computed or shown, not what is computed.
bool is_harmless(const std::string& difference, const configs::RunConfig& config) {
  constexpr std::array<std::string_view, 3> kKeys{"output", "stop_after", "optimizer.skip_nonfinite"};
  constexpr std::array<std::string_view, 7> kSections{"log.",   "checkpoint.", "comm.",    "eval.",
                                                      "cache.", "parallel.",   "watchdog."};
  const std::string key = compared_key(difference);
  // Computed states are rounded as the cache stores them: its mode does not matter, but whether there is one and its dtype.
  if (key == "cache.mode") return !difference.starts_with("cache.mode: off ") && !difference.ends_with(" != off");
  if (key == "cache.dtype" || key == "parallel.precision") return false;
  if (key == "stages.micro_batch") return config.optimizer.loss_normalization == "tokens";
  return is_place(key) || std::ranges::find(kKeys, key) != kKeys.end() ||
         std::ranges::any_of(kSections, [&](auto section) { return key.starts_with(section); });
}

/// Whether a key says what the trained weights are.
bool is_of_trained_parts(const std::string& key) {
  return key.starts_with("model.") && !is_place(key) && key != "model.ignore_fields";
}

/// What a comparison of configs is refused with: "WHAT (there != here)WAY_OUT:" and the lines.
struct Refusal {
  std::string what, way_out;
};

/// The differences of the config of the run in `folder` and `config`. Those that `may_differ` does not let pass are
/// refused; the others are the result.
std::vector<std::string> compare_configs(const fs::path& folder, const configs::RunConfig& config,
                                         const Refusal& refusal,
                                         const std::function<bool(const std::string& difference)>& may_differ) {
  configs::RunConfig before;
  try {
    before = configs::load_config(folder / RunFolder::kConfig);
  } catch (const configs::ConfigError& error) {
    throw configs::ConfigError("the run in " + folder.string() + " has a config that cannot be compared" +
                               refusal.way_out + ":\n" + error.what());
  }
  std::string refused;
  std::vector<std::string> passed;
  for (const std::string& difference : configs::differences(before, config)) {
    if (may_differ(difference)) {
      passed.push_back(difference);
    } else {
      refused += "\n  " + difference;
    }
  }
  if (!refused.empty()) throw configs::ConfigError(refusal.what + " (there != here)" + refusal.way_out + ":" + refused);
  return passed;
}

/// Refuses a folder without a config.yaml that holds anything but what a run leaves that was killed while it began, and
/// an evaluation of the frozen LLM, which needs no run.
void check_nothing_foreign(const RunFolder& folder) {
  const std::set<fs::path> own{kLock, std::string(RunFolder::kConfig) + kLeftover, RunFolder::kOrigin,
                               std::string(RunFolder::kOrigin) + kLeftover, RunFolder::kEvaluation};
  for (const fs::directory_entry& entry : fs::directory_iterator(folder.output())) {
    const fs::path name = entry.path().filename();
    const bool is_stage =
        std::find(folder.stages().begin(), folder.stages().end(), entry.path()) != folder.stages().end();
    if (own.contains(name) || (is_stage && fs::is_empty(entry.path()))) continue;
    if (is_stage) {
      throw configs::ConfigError("output: " + folder.output().string() + " holds a stage of a run (" + name.string() +
                                 ") without its " + RunFolder::kConfig +
                                 "; bring that back, or choose another `output`");
    }
    throw configs::ConfigError("output: " + folder.output().string() +
                               " holds files that are no run of layalign-train (" + name.string() +
                               "), and a run never writes among foreign files" + kWayOut);
  }
}

RunState inspect_existing(const RunFolder& folder, const configs::RunConfig& config,
                          std::vector<std::string>* changed) {
  if (!fs::is_directory(folder.output()))
    throw configs::ConfigError("output: " + folder.output().string() + " is not a folder" + kWayOut);
  if (!fs::exists(folder.config())) {
    check_nothing_foreign(folder);
    return RunState::kFresh;
  }
  const bool finished = fs::exists(folder.summary());
  const std::string what =
      "output: " + folder.output().string() + " holds a " + (finished ? "finished " : "") + "run with another config";
  const auto differences =
      compare_configs(folder.output(), config, {what, kWayOut}, [&](const std::string& difference) {
        // Nothing is read any more that could tell whether the files are the same.
        return is_harmless(difference, config) && !(finished && is_place(compared_key(difference)));
      });
  if (changed != nullptr) changed->insert(changed->end(), differences.begin(), differences.end());
  return finished ? RunState::kFinished : RunState::kResume;
}

std::string this_process() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return "process " + std::to_string(::getpid()) + " on " + host.data() + "\n";
}

/// The first line of the lock file, which its holder wrote.
std::string holder(int descriptor) {
  std::array<char, 300> text{};
  const ssize_t size = ::pread(descriptor, text.data(), text.size(), 0);
  const std::string line(text.data(), static_cast<size_t>(std::max<ssize_t>(0, size)));
  return line.empty() ? "another process" : line.substr(0, line.find('\n'));
}

/// Gives folders that were being replaced their names again and removes what is unfinished.
void remove_leftovers(const fs::path& folder) {
  std::vector<fs::path> leftovers;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == kLeftover) leftovers.push_back(entry.path());
  }
  for (const fs::path& leftover : leftovers) {
    const fs::path name = name_of_replaced(leftover);
    if (name != leftover && !fs::exists(name)) {
      checkpoints_tools::rename_file(leftover, name);
    } else {
      checkpoints_tools::remove_folder(leftover);
    }
  }
}

}  // namespace

RunFolder::RunFolder(fs::path output, const std::vector<configs::StageConfig>& stages) : output_(std::move(output)) {
  for (const configs::StageConfig& stage : stages) {
    stages_.push_back(output_ / (std::to_string(stages_.size() + 1) + "-" + stage.name));
  }
}

std::map<int64_t, fs::path> stage_folders(const fs::path& run) {
  std::map<int64_t, fs::path> stages;
  for (const fs::directory_entry& entry : fs::directory_iterator(run)) {
    const int64_t number = entry.is_directory() ? stage_number(entry.path().filename().string()) : 0;
    if (number > 0) stages[number] = entry.path();
  }
  return stages;
}

int64_t stage_number(const std::string& folder_name) {
  int64_t number = 0;
  const char* const begin = folder_name.data();
  const auto [end, error] = std::from_chars(begin, begin + folder_name.size(), number);
  return error == std::errc() && number > 0 && std::string_view(end).starts_with('-') ? number : 0;
}

std::vector<std::string> differences_from(const fs::path& run, const configs::RunConfig& config) {
  return compare_configs(
      run, config, {"the run in " + run.string() + " trains other weights", "; choose a checkpoint of such a run"},
      [](const std::string& difference) { return !is_of_trained_parts(compared_key(difference)); });
}

fs::path origin_of(const RunFolder& folder) {
  return as_io_error([&]() -> fs::path {
    if (!fs::exists(folder.config()) || !fs::exists(folder.origin())) return {};
    const std::string text = configs::read_text_file(folder.origin());
    return text.substr(0, text.find('\n'));
  });
}

RunState inspect_run(const RunFolder& folder, const configs::RunConfig& config, std::vector<std::string>* changed) {
  return as_io_error(
      [&] { return fs::exists(folder.output()) ? inspect_existing(folder, config, changed) : RunState::kFresh; });
}

RunLock::RunLock(const RunFolder& folder, double patience_s) {
  try {
    checkpoints_tools::make_folder(folder.output());
  } catch (const IoError& error) {
    throw IoError(std::string("output: ") + error.what() + ", or choose another `output`");
  }
  const fs::path path = folder.output() / kLock;
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) throw IoError(path.string() + ": cannot open: " + std::strerror(errno));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(patience_s);
  try {
    auto lock = checkpoints_tools::lock_file(descriptor_, path);
    while (lock == checkpoints_tools::FileLock::kTaken && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      lock = checkpoints_tools::lock_file(descriptor_, path);
    }
    if (lock == checkpoints_tools::FileLock::kTaken) {
      throw configs::ConfigError("output: " + folder.output().string() + " is being written by another run (" + holder(descriptor_) +
                                 "); wait for its end, or choose another `output`");
    }
    if (lock == checkpoints_tools::FileLock::kMissing) log_warn(checkpoints_tools::missing_lock_note(folder.output()));
    const std::string me = this_process();
    if (::ftruncate(descriptor_, 0) != 0) throw IoError(path.string() + ": cannot write: " + std::strerror(errno));
    write_all(descriptor_, me, path);
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

RunLock::~RunLock() { ::close(descriptor_); }

void begin_run(const RunFolder& folder, const configs::RunConfig& config, const fs::path& origin) {
  const fs::path before = origin_of(folder);
  as_io_error([&] {
    for (const fs::path& stage : folder.stages()) {
      checkpoints_tools::make_folder(stage);
      remove_leftovers(stage);
    }
    for (const fs::path& file :
         {folder.metrics(), folder.evaluations(), folder.summary(), folder.origin(), folder.output() / "latest"}) {
      checkpoints_tools::remove_file(file.string() + kLeftover);
    }
    if (origin.empty() && fs::exists(folder.origin())) checkpoints_tools::remove_file(folder.origin());
  });
  // Before the config, with which the run has begun.
  if (!origin.empty() && origin != before) write_file_durably(folder.origin(), origin.string() + "\n");
  write_file_durably(folder.config(), configs::to_yaml(config));
}

}  // namespace layalign::trainer
