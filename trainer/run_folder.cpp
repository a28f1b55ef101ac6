#include "trainer/run_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
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

/// Whether a resume may differ in this key: it changes how the run is computed or shown, not what is computed.
bool is_harmless(std::string_view difference) {
  constexpr std::array<std::string_view, 9> kHarmless{"output:", "log.",   "checkpoint.", "comm.",      "eval.",
                                                      "cache.",  "parallel.", "stop_after:", "watchdog."};
  // Computed states are rounded as the cache stores them: its mode does not matter, but whether there is one and its dtype.
  const bool cache_on_or_off = difference.starts_with("cache.mode: off ") || difference.ends_with(" != off");
  if (cache_on_or_off || difference.starts_with("cache.dtype") || difference.starts_with("parallel.precision")) return false;
  return std::any_of(kHarmless.begin(), kHarmless.end(), [&](auto key) { return difference.starts_with(key); });
}

/// Refuses a folder without a config.yaml that holds anything but what a run leaves that was killed while it began, and
/// an evaluation of the frozen LLM, which needs no run.
void check_nothing_foreign(const RunFolder& folder) {
  const std::set<fs::path> own{kLock, std::string(RunFolder::kConfig) + kLeftover, RunFolder::kEvaluation};
  for (const fs::directory_entry& entry : fs::directory_iterator(folder.output())) {
    const fs::path name = entry.path().filename();
    const bool is_stage =
        std::find(folder.stages().begin(), folder.stages().end(), entry.path()) != folder.stages().end();
    if (own.contains(name) || (is_stage && fs::is_empty(entry.path()))) continue;
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
  require_resumable(folder.output(), config, changed);
  return fs::exists(folder.summary()) ? RunState::kFinished : RunState::kResume;
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

void require_resumable(const fs::path& output, const configs::RunConfig& config, std::vector<std::string>* changed) {
  configs::RunConfig before;
  try {
    before = configs::load_config(output / RunFolder::kConfig);
  } catch (const configs::ConfigError& error) {
    throw configs::ConfigError("output: the run in " + output.string() + " has a config that cannot be compared" + kWayOut + ":\n" +
                               error.what());
  }
  std::string refused;
  for (const std::string& difference : configs::differences(before, config)) {
    if (!is_harmless(difference)) {
      refused += "\n  " + difference;
    } else if (changed != nullptr) {
      changed->push_back(difference);
    }
  }
  if (!refused.empty()) {
    throw configs::ConfigError("output: " + output.string() + " holds a run with another config (there != here)" + kWayOut + ":" +
                               refused);
  }
}

RunState inspect_run(const RunFolder& folder, const configs::RunConfig& config, std::vector<std::string>* changed) {
  return as_io_error(
      [&] { return fs::exists(folder.output()) ? inspect_existing(folder, config, changed) : RunState::kFresh; });
}

RunLock::RunLock(const RunFolder& folder, double patience_s) {
  try {
    fs::create_directories(folder.output());
  } catch (const fs::filesystem_error& error) {
    throw IoError("output: the folder " + folder.output().string() + " cannot be made: " + error.code().message() +
                  "; choose another `output`");
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

void begin_run(const RunFolder& folder, const configs::RunConfig& config) {
  as_io_error([&] {
    for (const fs::path& stage : folder.stages()) {
      checkpoints_tools::make_folder(stage);
      remove_leftovers(stage);
    }
    checkpoints_tools::remove_file(folder.output() / ("latest" + std::string(kLeftover)));
  });
  write_file_durably(folder.config(), configs::to_yaml(config));
}

}  // namespace layalign::trainer
