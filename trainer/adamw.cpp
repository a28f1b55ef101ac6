#include "trainer/adamw.h"

#include <ATen/core/grad_mode.h>

#include <cmath>

namespace layalign::trainer {

AdamW::AdamW(at::Tensor masters, const configs::OptimizerConfig& config)
    : masters_(std::move(masters)),
      exp_avg_(at::zeros_like(masters_)),
      exp_avg_sq_(at::zeros_like(masters_)),
      config_(config) {}

void AdamW::step(const at::Tensor& gradient, double lr, int64_t step) {
  at::NoGradGuard no_grad;
  const auto count = at::full({}, static_cast<double>(step), masters_.options());
  at::_fused_adamw_({masters_}, {gradient}, {exp_avg_}, {exp_avg_sq_}, /*max_exp_avg_sqs=*/{}, {count}, lr,
                    config_.betas[0], config_.betas[1], config_.weight_decay, config_.eps, /*amsgrad=*/false,
                    /*maximize=*/false);
}

void AdamW::reset() {
  exp_avg_.zero_();
  exp_avg_sq_.zero_();
}

at::Tensor gradient_norm(const at::Tensor& gradient) {
  return at::linalg_vector_norm(gradient, 2, std::nullopt, false, at::kDouble);
}

void clip_gradient(at::Tensor& gradient, double norm, double max_norm) {
  const double scale = max_norm / (norm + 1e-6);
  if (scale < 1.0) gradient.mul_(scale);
}

}  // namespace layalign::trainer
