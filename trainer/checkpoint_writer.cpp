#include "trainer/checkpoint_writer.h"

#include <ATen/core/grad_mode.h>

#include <chrono>
#include <utility>

namespace layalign::trainer {

void CheckpointWriter::start(const std::filesystem::path& stage_folder, TrainingState state, const KeepRule& keep) {
  wait();
  at::NoGradGuard no_grad;
  for (at::Tensor* tensor : {&state.masters, &state.exp_avg, &state.exp_avg_sq}) {
    *tensor = tensor->to(at::kCPU, /*non_blocking=*/false, /*copy=*/true);
  }
  writing_ = std::async(std::launch::async, [stage_folder, state = std::move(state), keep] {
    at::NoGradGuard no_grad_here;
    save_training_state(stage_folder, state, keep);
  });
}

void CheckpointWriter::check() {
  if (writing_.valid() && writing_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) writing_.get();
}

void CheckpointWriter::wait() {
  if (writing_.valid()) writing_.get();
}

}  // namespace layalign::trainer
