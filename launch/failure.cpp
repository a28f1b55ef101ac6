#include "launch/failure.h"

#include <c10/util/Exception.h>

#include <filesystem>
#include <iostream>
#include <map>
#include <new>
#include <system_error>
#include <vector>

#include "checkpoints_tools/error.h"
#include "configs/error.h"
#include "data/error.h"
#include "dist/error.h"
#include "dist/leftovers.h"
#include "launch/file_fault.h"
#include "model/error.h"
#include "trainer/error.h"
#include "trainer/format.h"
#include "trainer/log.h"
#include "trainer/stop.h"

namespace layalign::launch {
namespace {

/// "rank 1, 3"
std::string rank_list(const std::vector<size_t>& ranks) {
  std::string text = "rank ";
  for (size_t i = 0; i < ranks.size(); ++i) text += (i ? ", " : "") + std::to_string(ranks[i]);
  return text;
}

// A job whose mpirun was killed keeps memory of its nodes. One rank a node looks for it.
void remove_leftovers(const dist::Process& process) {
  std::error_code without_folder;
  const auto temporary = std::filesystem::temp_directory_path(without_folder);
  if (process.world_size() == 1 || process.local_rank() != 0 || without_folder) return;
  const auto swept = dist::sweep_dead_jobs(temporary, "/dev/shm", process.host());
  if (swept.jobs == 0) return;
  trainer::log_info(
      trainer::format("removed what OpenMPI had left of %d killed mpirun: %.1f MiB of shared memory on %s", swept.jobs,
                      static_cast<double>(swept.bytes) / (1 << 20), process.host().c_str()));
}

}  // namespace

std::pair<int, std::string> describe(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const AgreedFailure& failure) {
    return {failure.code(), failure.what()};
  } catch (const configs::ConfigError& failure) {
    return {kUsage, failure.what()};
  } catch (const data::DataError& failure) {
    return {kBadInput, failure.what()};
  } catch (const model::ModelError& failure) {
    return {kBadInput, failure.what()};
  } catch (const checkpoints_tools::CheckpointError& failure) {
    return {kBadInput, failure.what()};
  } catch (const dist::CommError& failure) {
    return {kCommunication, failure.what()};
  } catch (const trainer::IoError& failure) {
    return {kInputOutput, failure.what()};
  } catch (const trainer::StoppedError& failure) {
    return {kStopped, failure.what()};
  } catch (const trainer::DivergedError& failure) {
    return {kDiverged, failure.what()};
  } catch (const c10::Error& failure) {
    return {kOther, failure.what_without_backtrace()};
  } catch (const std::system_error& failure) {  // a file or folder that cannot be read or written
    return {kInputOutput, failure.what()};
  } catch (const std::bad_alloc&) {
    return {kOther, "out of memory: lower micro_batch, or raise parallel.tensor"};
  } catch (const std::exception& failure) {
    return {kOther, failure.what()};
  }
}

void together(const dist::Process& process, const std::function<void()>& piece) {
  std::string mine;  // "code text", empty where all went well
  try {
    piece();
  } catch (...) {
    const auto [code, text] = describe(std::current_exception());
    mine = std::to_string(code) + " " + text;
  }
  const auto all = process.all_gather(mine);
  std::map<std::string, std::vector<size_t>> ranks_of;
  for (size_t rank = 0; rank < all.size(); ++rank) {
    if (!all[rank].empty()) ranks_of[all[rank]].push_back(rank);
  }
  if (ranks_of.empty()) return;
  std::string message;
  for (const auto& [report, ranks] : ranks_of) {
    if (!message.empty()) message += "\n";
    if (ranks.size() < all.size()) message += rank_list(ranks) + ": ";
    message += report.substr(report.find(' ') + 1);
  }
  throw AgreedFailure(message, std::stoi(ranks_of.begin()->first));
}

void agree_on(const dist::Process& process, const std::function<std::vector<dist::Topic>()>& topics) {
  std::vector<dist::Topic> mine;
  together(process, [&] { mine = topics(); });  // may fail on one rank: before any of them compares
  together(process, [&] { dist::require_agreement(process, mine); });
}

int run_program(const std::function<void(std::shared_ptr<dist::Process>)>& body) {
  std::shared_ptr<dist::Process> process;
  try {
    process = std::make_shared<dist::Process>();
    trainer::set_up_log("", process->world_rank() == 0);
    inject_file_fault();
    remove_leftovers(*process);
    body(process);
    process->finalize();
    return kDone;
  } catch (const trainer::StoppedError& stopped) {  // every rank throws it alike
    if (process->world_rank() == 0) trainer::log_warn(stopped.what());
    process->finalize();
    return kStopped;
  } catch (const AgreedFailure& failure) {
    if (process->world_rank() == 0) {
      failure.code() == kStopped ? trainer::log_warn(failure.what()) : trainer::log_error(failure.what());
    }
    process->finalize();
    return failure.code();
  } catch (...) {
    const auto [code, text] = describe(std::current_exception());
    trainer::log_error(text);
    if (process && process->world_size() > 1) process->abort(code);
    return code;
  }
}

}  // namespace layalign::launch
