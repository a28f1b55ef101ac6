#include "model/attention.h"

#include <torch/csrc/autograd/custom_function.h>

namespace layalign::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Consecutive samples of one length each: they are attended to in one call.
struct Run {
  int64_t samples, q_begin, q_length, k_begin, k_length;
};

/// `together`: samples may share a call.
std::vector<Run> runs_of(const std::vector<int64_t>& q_offsets, const std::vector<int64_t>& k_offsets, bool together) {
  std::vector<Run> runs;
  for (size_t i = 0; i + 1 < q_offsets.size(); ++i) {
    const Run sample{1, q_offsets[i], q_offsets[i + 1] - q_offsets[i], k_offsets[i], k_offsets[i + 1] - k_offsets[i]};
    if (together && !runs.empty() && runs.back().q_length == sample.q_length && runs.back().k_length == sample.k_length) {
      ++runs.back().samples;
    } else {
      runs.push_back(sample);
    }
  }
  return runs;
}

/// Rows [begin, begin + samples * length) of x [T, heads, dh] as [batch, heads, length, dh]. Without groups (group 1) the batch is the
/// samples. Else there is one sample, the batch is its key-value heads, and the heads are the `group` queries of each; keys and
/// values, which have one, are seen by all of them.
at::Tensor batched(const at::Tensor& x, int64_t begin, int64_t samples, int64_t length, int64_t kv_heads, int64_t group) {
  const auto rows = x.narrow(0, begin, samples * length);
  if (group == 1) return rows.unflatten(0, {samples, length}).transpose(1, 2);
  if (x.size(1) == kv_heads) return rows.permute({1, 0, 2}).unsqueeze(1).expand({-1, group, -1, -1});
  return rows.unflatten(1, {kv_heads, group}).permute({1, 2, 0, 3});
}

at::Tensor by_operator(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const std::vector<Run>& runs, bool causal,
                       double scale, const std::optional<at::Tensor>& bias) {
  const int64_t group = q.size(1) / k.size(1);
  const auto repeated = [&](const at::Tensor& x) { return group == 1 ? x : x.repeat_interleave(group, 1); };
  const auto keys = repeated(k), values = repeated(v);
  std::vector<at::Tensor> outputs;
  for (const Run& run : runs) {
    std::optional<at::Tensor> mask;
    if (bias) mask = bias->narrow(1, 0, run.q_length).narrow(2, 0, run.k_length).unsqueeze(0);
    const auto part = [&](const at::Tensor& x, int64_t begin, int64_t length) {
      return batched(x, begin, run.samples, length, x.size(1), 1);
    };
    const auto out = at::scaled_dot_product_attention(part(q, run.q_begin, run.q_length), part(keys, run.k_begin, run.k_length),
                                                      part(values, run.k_begin, run.k_length), mask, /*dropout_p=*/0.0, causal, scale);
    outputs.push_back(out.transpose(1, 2).reshape({run.samples * run.q_length, -1}));
  }
  return at::cat(outputs, 0);
}

/// The same by LibTorch's flash attention for CPUs, whose parts write into, and read from, packed rows. Grouped keys and values are
/// not repeated.
struct PackedAttention : torch::autograd::Function<PackedAttention> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<Run>& runs, bool causal, double scale) {
    variable_list saved;
    const auto out = attend(q, k, v, runs, causal, scale, &saved);
    saved.insert(saved.begin(), {q, k, v, out});
    context->save_for_backward(saved);
    std::vector<int64_t> numbers;
    for (const Run& run : runs) numbers.insert(numbers.end(), {run.samples, run.q_begin, run.q_length, run.k_begin, run.k_length});
    context->saved_data["runs"] = numbers;
    context->saved_data["causal"] = causal;
    context->saved_data["scale"] = scale;
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const auto &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3];
    const auto numbers = context->saved_data["runs"].toIntVector();
    const bool causal = context->saved_data["causal"].toBool();
    const double scale = context->saved_data["scale"].toDouble();
    const int64_t kv_heads = k.size(1), group = q.size(1) / kv_heads;
    auto dq = at::empty(q.sizes(), q.options()), dk = at::empty(k.sizes(), k.options()), dv = at::empty(v.sizes(), v.options());
    const auto dout = grads[0].view(q.sizes()), outputs = out.view(q.sizes());
    for (size_t i = 0; 5 * i < numbers.size(); ++i) {
      const Run run{numbers[5 * i], numbers[5 * i + 1], numbers[5 * i + 2], numbers[5 * i + 3], numbers[5 * i + 4]};
      const auto of_q = [&](const at::Tensor& x) { return batched(x, run.q_begin, run.samples, run.q_length, kv_heads, group); };
      const auto of_k = [&](const at::Tensor& x) { return batched(x, run.k_begin, run.samples, run.k_length, kv_heads, group); };
      const auto [dq_part, dk_part, dv_part] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
          of_q(dout), of_q(q), of_k(k), of_k(v), of_q(outputs), saved[4 + i], /*dropout_p=*/0.0, causal, {}, scale);
      of_q(dq).copy_(dq_part);
      if (group == 1) {
        of_k(dk).copy_(dk_part);
        of_k(dv).copy_(dv_part);
      } else {
        dk.narrow(0, run.k_begin, run.k_length).copy_(dk_part.sum(1).transpose(0, 1));
        dv.narrow(0, run.k_begin, run.k_length).copy_(dv_part.sum(1).transpose(0, 1));
      }
    }
    return {dq, dk, dv, {}, {}, {}};
  }

  /// `sums`: gets the logarithm of the scores' sums of each run, unless it is nullptr.
  static at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const std::vector<Run>& runs, bool causal,
                           double scale, variable_list* sums) {
    const int64_t kv_heads = k.size(1), group = q.size(1) / kv_heads;
    auto out = at::empty(q.sizes(), q.options());
    for (const Run& run : runs) {
      const auto of_q = [&](const at::Tensor& x) { return batched(x, run.q_begin, run.samples, run.q_length, kv_heads, group); };
      const auto of_k = [&](const at::Tensor& x) { return batched(x, run.k_begin, run.samples, run.k_length, kv_heads, group); };
      const auto [part, sum] =
          at::_scaled_dot_product_flash_attention_for_cpu(of_q(q), of_k(k), of_k(v), /*dropout_p=*/0.0, causal, {}, scale);
      of_q(out).copy_(part);
      if (sums != nullptr) sums->push_back(sum);
    }
    return out.flatten(1);
  }
};

}  // namespace

at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<int64_t>& q_offsets, const std::vector<int64_t>& k_offsets, bool causal,
                            double scale, const std::optional<at::Tensor>& bias) {
  const bool by_function = q.device().is_cpu() && !bias;
  const auto runs = runs_of(q_offsets, k_offsets, /*together=*/!by_function || q.size(1) == k.size(1));
  if (!by_function) return by_operator(q, k, v, runs, causal, scale, bias);
  if (!at::GradMode::is_enabled()) return PackedAttention::attend(q, k, v, runs, causal, scale, nullptr);
  return PackedAttention::apply(q, k, v, runs, causal, scale);
}

}  // namespace layalign::model
