#pragma once

#include <ATen/ATen.h>

#include "configs/schema.h"

namespace layalign::trainer {

/// AdamW over one flat float32 buffer: decoupled weight decay, bias-corrected moments, torch.optim.AdamW's numbers.
/// Every rank runs it on the same gradient, so replicas stay bit-identical.
class AdamW {
 public:
  /// Moments are zero. `masters` [N]: updated in place by `step`.
  AdamW(at::Tensor masters, const configs::OptimizerConfig& config);

  /// One update from `gradient` [N]. `step` counts from 1.
  void step(const at::Tensor& gradient, double lr, int64_t step);

  /// The moments [N], to save and to restore (in place).
  const at::Tensor& exp_avg() const { return exp_avg_; }
  const at::Tensor& exp_avg_sq() const { return exp_avg_sq_; }

  void reset();

 private:
  at::Tensor masters_, exp_avg_, exp_avg_sq_;
  configs::OptimizerConfig config_;
};

/// The norm of all values, accumulated in float64: a scalar on their device.
at::Tensor gradient_norm(const at::Tensor& gradient);

/// Scales `gradient`, whose norm is `norm`, in place so that it is at most `max_norm`.
/// Source: torch.nn.utils.clip_grad_norm_ (which also adds 1e-6 to the norm).
void clip_gradient(at::Tensor& gradient, double norm, double max_norm);

}  // namespace layalign::trainer
