#include "model/attention.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <vector>

#include "model/work_counter.h"

namespace layalign::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// What attention is asked for beside its tensors.
struct Work {
  const PackedSequences& queries;
  const PackedSequences& keys;
  bool causal;
  double scale;

  /// Of the two products, for q [Tq, heads, dh].
  int64_t flops(const at::Tensor& q) const {
    int64_t pairs = 0;
    for (int64_t i = 0; i < queries.count(); ++i) {
      pairs += causal ? queries.length(i) * (queries.length(i) + 1) / 2 : queries.length(i) * keys.length(i);
    }
    return 4 * q.size(1) * q.size(2) * pairs;
  }
};

/// An output [Tq, heads, dh], and what backward needs beside it and the inputs.
struct Attended {
  at::Tensor out;
  variable_list kept;
};

int64_t group_of(const at::Tensor& q, const at::Tensor& k) { return q.size(1) / k.size(1); }

/// [T, kv_heads, dh] -> [T, heads, dh].
at::Tensor repeated(const at::Tensor& x, int64_t group) { return group == 1 ? x : x.repeat_interleave(group, 1); }

/// The gradient of `repeated`.
at::Tensor summed(const at::Tensor& dx, int64_t group) { return group == 1 ? dx : dx.unflatten(1, {-1, group}).sum(2); }

/// Consecutive samples of one length each: they are attended to in one call.
struct Run {
  int64_t samples, q_begin, q_length, k_begin, k_length;
};

/// `together`: samples may share a call. In bfloat16 they do not: the kernel rounds otherwise when there are more of them.
std::vector<Run> runs_of(const Work& work, bool together) {
  std::vector<Run> runs;
  for (int64_t i = 0; i < work.queries.count(); ++i) {
    const Run sample{1, work.queries.begin(i), work.queries.length(i), work.keys.begin(i), work.keys.length(i)};
    if (together && !runs.empty() && runs.back().q_length == sample.q_length && runs.back().k_length == sample.k_length) {
      ++runs.back().samples;
    } else {
      runs.push_back(sample);
    }
  }
  return runs;
}

/// Rows [begin, begin + samples * length) of x [T, heads, dh] as [samples, heads, length, dh].
at::Tensor batched(const at::Tensor& x, int64_t begin, int64_t samples, int64_t length) {
  return x.narrow(0, begin, samples * length).unflatten(0, {samples, length}).transpose(1, 2);
}

at::Tensor by_operator(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Work& work,
                       const std::optional<at::Tensor>& bias) {
  const auto keys = repeated(k, group_of(q, k)), values = repeated(v, group_of(q, k));
  std::vector<at::Tensor> outputs;
  for (const Run& run : runs_of(work, /*together=*/!q.device().is_cpu() || q.scalar_type() == at::kFloat)) {
    std::optional<at::Tensor> mask;
    if (bias) mask = bias->narrow(1, 0, run.q_length).narrow(2, 0, run.k_length).unsqueeze(0);
    const auto of_k = [&](const at::Tensor& x) { return batched(x, run.k_begin, run.samples, run.k_length); };
    const auto out = at::scaled_dot_product_attention(batched(q, run.q_begin, run.samples, run.q_length), of_k(keys), of_k(values),
                                                      mask, /*dropout_p=*/0.0, work.causal, work.scale);
    outputs.push_back(out.transpose(1, 2).reshape({run.samples * run.q_length, -1}));
  }
  return at::cat(outputs, 0);
}

/// LibTorch's flash attention for CPUs, run by run, into and out of packed rows.
class CpuAttention {
 public:
  CpuAttention(const at::Tensor& q, const at::Tensor& k, const Work& work)
      : work_(work), kv_heads_(k.size(1)), group_(group_of(q, k)), runs_(runs_of(work, /*together=*/group_ == 1 && q.scalar_type() == at::kFloat)) {}

  Attended forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) const {
    Attended attended{at::empty(q.sizes(), q.options()), {}};
    for (const Run& run : runs_) {
      const auto [out, sums] = at::_scaled_dot_product_flash_attention_for_cpu(of_q(q, run), of_k(k, run), of_k(v, run),
                                                                               /*dropout_p=*/0.0, work_.causal, {}, work_.scale);
      of_q(attended.out, run).copy_(out);
      attended.kept.push_back(sums);
    }
    return attended;
  }

  variable_list backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const Attended& attended) const {
    auto dq = at::empty(q.sizes(), q.options()), dk = at::empty(k.sizes(), k.options()), dv = at::empty(v.sizes(), v.options());
    for (size_t i = 0; i < runs_.size(); ++i) {
      const Run& run = runs_[i];
      const auto [dq_run, dk_run, dv_run] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
          of_q(dout, run), of_q(q, run), of_k(k, run), of_k(v, run), of_q(attended.out, run), attended.kept[i],
          /*dropout_p=*/0.0, work_.causal, {}, work_.scale);
      of_q(dq, run).copy_(dq_run);
      store(dk, run, dk_run);
      store(dv, run, dv_run);
    }
    return {dq, dk, dv};
  }

 private:
  // The kernel has no groups: there, the batch is the key-value heads of one sample, its heads are the queries of each, and they
  // all see the same keys.
  at::Tensor of_q(const at::Tensor& x, const Run& run) const {
    if (group_ == 1) return batched(x, run.q_begin, run.samples, run.q_length);
    return x.narrow(0, run.q_begin, run.q_length).unflatten(1, {kv_heads_, group_}).permute({1, 2, 0, 3});
  }
  at::Tensor of_k(const at::Tensor& x, const Run& run) const {
    if (group_ == 1) return batched(x, run.k_begin, run.samples, run.k_length);
    return x.narrow(0, run.k_begin, run.k_length).transpose(0, 1).unsqueeze(1).expand({-1, group_, -1, -1});
  }
  void store(const at::Tensor& all, const Run& run, const at::Tensor& gradient) const {
    if (group_ == 1) {
      batched(all, run.k_begin, run.samples, run.k_length).copy_(gradient);
    } else {
      all.narrow(0, run.k_begin, run.k_length).copy_(gradient.sum(1).transpose(0, 1));
    }
  }

  const Work& work_;
  int64_t kv_heads_, group_;
  std::vector<Run> runs_;
};

/// Flash attention for GPUs (Ampere or newer) over all samples at once: bfloat16, head sizes that are multiples of 8 up to 256.
struct FlashAttention {
  static Attended forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Work& work) {
    const auto [out, sums, random_state, unused, mask] = at::_flash_attention_forward(
        q, k, v, work.queries.on_device(), work.keys.on_device(), work.queries.longest(), work.keys.longest(), /*dropout_p=*/0.0,
        work.causal, /*return_debug_mask=*/false, work.scale);
    return {out, {sums, random_state, unused}};
  }
  static variable_list backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                const Attended& attended, const Work& work) {
    const auto [dq, dk, dv] = at::_flash_attention_backward(
        dout, q, k, v, attended.out, attended.kept[0], work.queries.on_device(), work.keys.on_device(), work.queries.longest(),
        work.keys.longest(), /*dropout_p=*/0.0, work.causal, attended.kept[1], attended.kept[2], work.scale);
    return {dq, dk, dv};
  }
};

/// Memory-efficient attention for GPUs over all samples at once: float32. It has no groups.
struct EfficientAttention {
  static int64_t mask_type(const Work& work) { return work.causal ? 1 : 0; }  // 1: causal, from the top left

  static Attended forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Work& work, bool keep) {
    const int64_t group = group_of(q, k);
    const auto [out, sums, seed, offset, longest_q, longest_k] = at::_efficient_attention_forward(
        q.unsqueeze(0), repeated(k, group).unsqueeze(0), repeated(v, group).unsqueeze(0), /*bias=*/{}, work.queries.on_device(),
        work.keys.on_device(), work.queries.longest(), work.keys.longest(), /*dropout_p=*/0.0, mask_type(work),
        /*compute_log_sumexp=*/keep, work.scale);
    return {out.squeeze(0), {sums, seed, offset}};
  }
  static variable_list backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                const Attended& attended, const Work& work) {
    const int64_t group = group_of(q, k);
    const auto [dq, dk, dv, dbias] = at::_efficient_attention_backward(
        dout.unsqueeze(0), q.unsqueeze(0), repeated(k, group).unsqueeze(0), repeated(v, group).unsqueeze(0), /*bias=*/{},
        attended.out.unsqueeze(0), work.queries.on_device(), work.keys.on_device(), work.queries.longest(), work.keys.longest(),
        attended.kept[0], /*dropout_p=*/0.0, attended.kept[1], attended.kept[2], mask_type(work), /*bias_requires_grad=*/false,
        work.scale);
    return {dq.squeeze(0), summed(dk.squeeze(0), group), summed(dv.squeeze(0), group)};
  }
};

/// `keep`: what only backward needs is wanted too. How large the products of GPUs' kernels are, LibTorch's observers do not see.
Attended attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Work& work, bool keep) {
  if (q.device().is_cpu()) return CpuAttention(q, k, work).forward(q, k, v);
  count_product(work.flops(q));
  return q.scalar_type() == at::kFloat ? EfficientAttention::forward(q, k, v, work, keep) : FlashAttention::forward(q, k, v, work);
}

variable_list attend_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const Attended& attended, const Work& work) {
  if (q.device().is_cpu()) return CpuAttention(q, k, work).backward(dout, q, k, v, attended);
  count_product(work.flops(q) * 5 / 2);
  return q.scalar_type() == at::kFloat ? EfficientAttention::backward(dout, q, k, v, attended, work)
                                       : FlashAttention::backward(dout, q, k, v, attended, work);
}

/// A `Work` that lives until backward.
struct KeptWork : torch::CustomClassHolder {
  explicit KeptWork(const Work& given)
      : queries(given.queries), keys(given.keys), work{queries, keys, given.causal, given.scale} {}
  PackedSequences queries, keys;
  Work work;
};

struct PackedAttention : torch::autograd::Function<PackedAttention> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Work& work) {
    const auto attended = attend(q, k, v, work, /*keep=*/true);
    const auto out = attended.out.flatten(1);
    variable_list saved = {q, k, v, out};
    saved.insert(saved.end(), attended.kept.begin(), attended.kept.end());
    context->save_for_backward(saved);
    context->saved_data["work"] = c10::IValue::make_capsule(c10::make_intrusive<KeptWork>(work));
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const auto holder = c10::static_intrusive_pointer_cast<KeptWork>(context->saved_data["work"].toCapsule());
    const auto& q = saved[0];
    const Attended attended{saved[3].view(q.sizes()), {saved.begin() + 4, saved.end()}};
    auto gradients = attend_backward(grads[0].contiguous().view(q.sizes()), q, saved[1], saved[2], attended, holder->work);
    gradients.resize(4);  // none for the work
    return gradients;
  }
};

/// Kernels write rows run by run: what no sample covers would stay as it was in memory.
void check(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Work& work) {
  TORCH_CHECK(q.dim() == 3 && k.sizes() == v.sizes() && q.size(2) == k.size(2) && k.size(1) > 0 && q.size(1) % k.size(1) == 0,
              "attention of queries ", q.sizes(), " to keys ", k.sizes(), " and values ", v.sizes());
  TORCH_CHECK(work.queries.count() == work.keys.count() && work.queries.tokens() == q.size(0) && work.keys.tokens() == k.size(0),
              "attention of ", work.queries.count(), " samples of ", work.queries.tokens(), " tokens to ", work.keys.count(), " of ",
              work.keys.tokens(), ", queries ", q.sizes(), ", keys ", k.sizes());
  for (int64_t i = 0; i < work.queries.count(); ++i) {
    TORCH_CHECK(work.queries.length(i) > 0 && work.keys.length(i) > 0, "attention of a sample without tokens");
    TORCH_CHECK(!work.causal || work.queries.length(i) == work.keys.length(i), "causal attention to another number of tokens");
  }
}

/// Whether one of the kernels above does it.
bool has_kernel(const at::Tensor& q) {
  if (q.device().is_cpu()) return true;
  const bool known_type = q.scalar_type() == at::kFloat || q.scalar_type() == at::kBFloat16;
  return q.device().is_cuda() && known_type && q.size(2) % 8 == 0 && q.size(2) <= 256;
}

}  // namespace

at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const PackedSequences& queries,
                            const PackedSequences& keys, bool causal, double scale, const std::optional<at::Tensor>& bias) {
  const Work work{queries, keys, causal, scale};
  check(q, k, v, work);
  if (bias || !has_kernel(q)) return by_operator(q, k, v, work, bias);
  if (!at::GradMode::is_enabled()) return attend(q, k, v, work, /*keep=*/false).out.flatten(1);
  return PackedAttention::apply(q, k, v, work);
}

}  // namespace layalign::model
