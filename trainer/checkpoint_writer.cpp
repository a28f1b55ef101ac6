#include "trainer/checkpoint_writer.h"

#include <ATen/core/grad_mode.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "dist/error.h"
#include "trainer/error.h"

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;

at::Tensor copy_of(const at::Tensor& tensor, ElementRange range) {
  return tensor.narrow(0, range.begin, range.end - range.begin).to(at::kCPU, /*non_blocking=*/false, /*copy=*/true);
}

std::string to_message(const MomentsFile& file) {
  return nlohmann::json{{"name", file.name}, {"begin", file.range.begin}, {"end", file.range.end}, {"bytes", file.bytes}, {"xxh3", file.xxh3}}
      .dump();
}

std::string to_message(const std::exception& error) {
  return nlohmann::json{{"error", error.what()}}.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

MomentsFile from_message(const std::string& message) {
  const auto json = nlohmann::json::parse(message);
  if (json.contains("error")) throw IoError(json["error"].get<std::string>());
  return {json["name"].get<std::string>(),
          {json["begin"].get<int64_t>(), json["end"].get<int64_t>()},
          json["bytes"].get<int64_t>(),
          json["xxh3"].get<std::string>()};
}

}  // namespace

/// Tells the other ranks' threads where to write, and collects what they have written.
class CheckpointWriter::Shares : public OtherShares {
 public:
  Shares(dist::Mailbox& mailbox, int ranks) : mailbox_(mailbox), ranks_(ranks) {}
  /// Where there is no folder to write into they need not wait for it.
  ~Shares() override {
    if (begun_) return;
    try {
      tell("");
    } catch (const dist::CommError&) {
      // what kept the folder from being made is the error to tell
    }
  }

  void begin(const fs::path& folder) override { tell(folder.string()); }

  std::vector<MomentsFile> finish() override {
    std::vector<MomentsFile> files;
    std::string problem;
    for (int rank = 1; rank < ranks_; ++rank) {
      try {
        files.push_back(from_message(mailbox_.receive(rank)));
      } catch (const IoError& error) {
        if (problem.empty()) problem = "rank " + std::to_string(rank) + ": " + error.what();
      }
    }
    if (!problem.empty()) throw IoError(problem);
    return files;
  }

 private:
  void tell(const std::string& folder) {
    begun_ = true;
    for (int rank = 1; rank < ranks_; ++rank) mailbox_.send(rank, folder);
  }

  dist::Mailbox& mailbox_;
  int ranks_;
  bool begun_ = false;
};

CheckpointWriter::CheckpointWriter(const dist::ProcessGrid& grid) : grid_(grid) {
  if (grid.world_size > 1) mailbox_ = grid.process->make_mailbox();
}

CheckpointWriter::~CheckpointWriter() = default;

void CheckpointWriter::start(const fs::path& stage_folder, TrainingState state, const KeepRule& keep) {
  wait();
  at::NoGradGuard no_grad;
  const int64_t numel = state.masters.numel();
  const ElementRange mine = share_of(numel, grid_.world_rank, grid_.world_size);
  state.exp_avg = copy_of(state.exp_avg, mine);
  state.exp_avg_sq = copy_of(state.exp_avg_sq, mine);
  state.masters = grid_.world_rank == 0 ? copy_of(state.masters, {0, numel}) : at::Tensor();
  writing_ = std::async(std::launch::async, [this, stage_folder, state = std::move(state), keep, mine] {
    at::NoGradGuard no_grad_here;
    if (grid_.world_rank > 0) return write_share(state, mine);
    if (!mailbox_) return save_training_state(stage_folder, state, keep);
    Shares others(*mailbox_, grid_.world_size);
    save_training_state(stage_folder, state, keep, &others);
  });
}

void CheckpointWriter::write_share(const TrainingState& state, ElementRange range) const {
  const std::string folder = mailbox_->receive(0);
  if (folder.empty()) return;  // the first rank says why
  try {
    mailbox_->send(0, to_message(save_moments(folder, state.exp_avg, state.exp_avg_sq, range, grid_.world_rank, grid_.world_size)));
  } catch (const std::exception& error) {
    mailbox_->send(0, to_message(error));
    throw;
  }
}

void CheckpointWriter::check() {
  if (writing_.valid() && writing_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) writing_.get();
}

void CheckpointWriter::wait() {
  if (writing_.valid()) writing_.get();
}

}  // namespace layalign::trainer
