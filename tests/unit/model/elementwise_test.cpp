// Values and gradients of the elementwise operations against their formulas in float64 under autograd.
#include "model/elementwise.h"

#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <limits>

#include "model/attention.h"
#include "model/rope.h"

namespace layalign::model {
namespace {

using Tensors = std::vector<at::Tensor>;
using Operation = std::function<Tensors(const Tensors&)>;

/// By kernels of our own, and by LibTorch's operators.
class Elementwise : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    at::manual_seed(3);
    use_elementwise_kernels(GetParam());
  }
  void TearDown() override { use_elementwise_kernels(true); }
};

INSTANTIATE_TEST_SUITE_P(By, Elementwise, testing::Bool(),
                         [](const auto& info) { return std::string(info.param ? "Kernels" : "Operators"); });

/// A sum of some hundred float32 terms of about 1 errs by a few units of 2^-24; 2e-6 of the largest value is 30 of them.
constexpr double kTolerance = 2e-6;

void expect_close(const at::Tensor& got, const at::Tensor& exact, const std::string& what, double tolerance) {
  ASSERT_EQ(got.sizes(), exact.sizes()) << what;
  if (got.numel() == 0) return;
  const double largest = std::max(1.0, exact.abs().max().item<double>());
  EXPECT_LT((got.to(at::kDouble) - exact).abs().max().item<double>(), tolerance * largest) << what;
}

Tensors leaves(const Tensors& inputs, at::ScalarType type) {
  Tensors result;
  for (const auto& input : inputs) result.push_back(input.to(type).clone().set_requires_grad(true));
  return result;
}

/// Outputs of `operation` in float32 and the gradients of all its inputs, against `formula` in float64.
void expect_equal_to_formula(const Tensors& inputs, const Operation& operation, const Operation& formula) {
  const auto single = leaves(inputs, at::kFloat), exact = leaves(inputs, at::kDouble);
  const auto got = operation(single), expected = formula(exact);
  ASSERT_EQ(got.size(), expected.size());
  Tensors directions, exact_directions;
  for (size_t i = 0; i < got.size(); ++i) {
    expect_close(got[i].detach(), expected[i].detach(), "output " + std::to_string(i), kTolerance);
    directions.push_back(at::randn(got[i].sizes()));
    exact_directions.push_back(directions.back().to(at::kDouble));
  }
  const auto gradients = torch::autograd::grad(got, single, directions);
  const auto exact_gradients = torch::autograd::grad(expected, exact, exact_directions);
  for (size_t i = 0; i < gradients.size(); ++i) {
    expect_close(gradients[i], exact_gradients[i], "gradient " + std::to_string(i), kTolerance);
  }
  // An input alone has the same gradient when the others are frozen, and nothing is asked for where all are.
  for (size_t i = 0; i < inputs.size(); ++i) {
    auto frozen = leaves(inputs, at::kFloat);
    for (size_t other = 0; other < frozen.size(); ++other) frozen[other].set_requires_grad(other == i);
    EXPECT_TRUE(torch::autograd::grad(operation(frozen), {frozen[i]}, directions)[0].equal(gradients[i])) << "input " << i << " alone";
    frozen[i].set_requires_grad(false);
    for (const auto& output : operation(frozen)) EXPECT_FALSE(output.requires_grad());
  }
  // Without a gradient the same bits come out: recomputation relies on it.
  at::NoGradGuard no_grad;
  const auto again = operation(single);
  for (size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(again[i].equal(got[i].detach())) << "output " << i;
}

at::Tensor exact_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return x * at::rsqrt(x.square().mean(-1, true) + eps) * weight.to(x.scalar_type());
}

// Rows of whole vectors, with a rest, and shorter than one; so many that threads share them.
const std::vector<std::vector<int64_t>> kShapes = {{3, 64}, {700, 96}, {5, 77}, {4, 3}, {2, 3, 24}, {0, 16}};

TEST_P(Elementwise, Norm) {
  for (const auto& shape : kShapes) {
    const auto weight = at::randn(shape.back());
    expect_equal_to_formula({at::randn(shape) * 3}, [&](const Tensors& in) { return Tensors{rms_norm(in[0], weight, 1e-5)}; },
                            [&](const Tensors& in) { return Tensors{exact_norm(in[0], weight, 1e-5)}; });
  }
}

TEST_P(Elementwise, NormOfAView) {
  const auto weight = at::randn(8);
  const auto heads = [](const at::Tensor& x) { return x.narrow(1, 2, 3); };
  expect_equal_to_formula({at::randn({6, 7, 8})}, [&](const Tensors& in) { return Tensors{rms_norm(heads(in[0]), weight, 1e-6)}; },
                          [&](const Tensors& in) { return Tensors{exact_norm(heads(in[0]), weight, 1e-6)}; });
}

TEST_P(Elementwise, SumAndNorm) {
  for (const auto& shape : kShapes) {
    const auto weight = at::randn(shape.back());
    const auto operation = [&](const Tensors& in) {
      const auto [sum, normed] = add_rms_norm(in[0], in[1], weight, 1e-5);
      return Tensors{sum, normed};
    };
    const auto formula = [&](const Tensors& in) { return Tensors{in[0] + in[1], exact_norm(in[0] + in[1], weight, 1e-5)}; };
    expect_equal_to_formula({at::randn(shape), at::randn(shape)}, operation, formula);
    // One of the two outputs alone.
    for (size_t which : {0, 1}) {
      expect_equal_to_formula({at::randn(shape), at::randn(shape)}, [&](const Tensors& in) { return Tensors{operation(in)[which]}; },
                              [&](const Tensors& in) { return Tensors{formula(in)[which]}; });
    }
  }
}

TEST_P(Elementwise, Swiglu) {
  for (const int64_t width : {64, 37, 3}) {
    expect_equal_to_formula({at::randn({300, 2 * width}) * 4}, [](const Tensors& in) { return Tensors{swiglu(in[0])}; },
                            [](const Tensors& in) {
                              const auto halves = in[0].chunk(2, -1);
                              return Tensors{halves[0] * halves[0].sigmoid() * halves[1]};
                            });
  }
}

TEST_P(Elementwise, GradientOfSwigluFarFromZero) {
  const auto gate = at::tensor({-1e30, -200.0, -87.0, 0.0, 87.0, 200.0, 1e30}).to(at::kFloat);
  const auto gate_up = at::cat({gate, at::ones_like(gate)}).unsqueeze(0).set_requires_grad(true);
  const auto gradient = torch::autograd::grad({swiglu(gate_up)}, {gate_up}, {at::ones({1, 7})})[0][0];
  expect_close(gradient.slice(0, 0, 7), at::tensor({0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 1.0}), "of the gate", 1e-6);
  expect_close(gradient.slice(0, 7) / gate.clamp_min(1), gate.clamp_min(0) / gate.clamp_min(1), "of up", 1e-6);
}

TEST_P(Elementwise, SwigluFarFromZero) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const auto gate = at::tensor({-1e30, -200.0, -88.0, -87.0, -20.0, -0.0, 0.0, 1e-30, 20.0, 87.0, 88.0, 200.0, 1e30}).to(at::kFloat);
  const auto out = swiglu(at::cat({gate, at::ones_like(gate)}).unsqueeze(0)).squeeze(0);
  const auto wide = gate.to(at::kDouble);
  const auto exact = wide * wide.sigmoid();
  // Below -87 at most 1e-36 of the gate is left, and what that is depends on the rounding of numbers near the smallest.
  EXPECT_TRUE((out - exact).slice(0, 0, 3).abs().le(wide.slice(0, 0, 3).abs() * 1e-36).all().item<bool>()) << out;
  const auto error = (out - exact).slice(0, 3).abs() / exact.slice(0, 3).abs().clamp_min(1e-38);
  EXPECT_LT(error.max().item<double>(), 5e-7) << out;  // e^x errs by 2^-22
  const auto strange = swiglu(at::tensor({std::nanf(""), kInfinity, 1.0F, 1.0F}).unsqueeze(0)).squeeze(0);
  EXPECT_TRUE(std::isnan(strange[0].item<float>()));
  EXPECT_EQ(strange[1].item<float>(), kInfinity);
}

TEST_P(Elementwise, GatedSum) {
  for (const auto& shape : {std::vector<int64_t>{3, 64}, {700, 96}, {5, 77}}) {
    expect_equal_to_formula({at::randn(shape), at::randn(shape), at::full({}, -0.3)},
                            [](const Tensors& in) { return Tensors{gated_sum(in[0], in[1], in[2])}; },
                            [](const Tensors& in) { return Tensors{in[0] + in[2] * in[1]}; });
  }
}

at::Tensor exact_rope(const at::Tensor& x, const RopeTable& table) {
  const auto halves = x.chunk(2, -1);
  return x * table.cos_TH.unsqueeze(1).to(at::kDouble) + at::cat({-halves[1], halves[0]}, -1) * table.sin_TH.unsqueeze(1).to(at::kDouble);
}

RopeTable table_of(int64_t tokens, int64_t head_dim) {
  return rope_table(inverse_frequencies({}, head_dim), at::arange(tokens) % 50);
}

TEST_P(Elementwise, Rope) {
  for (const int64_t head_dim : {64, 16, 6}) {
    const auto table = table_of(90, head_dim);
    // Heads of a row that has others before and after them.
    const auto heads = [](const at::Tensor& x) { return x.narrow(1, 1, 4); };
    expect_equal_to_formula({at::randn({90, 6, head_dim})}, [&](const Tensors& in) { return Tensors{apply_rope(heads(in[0]), table)}; },
                            [&](const Tensors& in) { return Tensors{exact_rope(heads(in[0]), table)}; });
  }
}

TEST_P(Elementwise, RotatedHeads) {
  for (const auto& [heads, kv_heads] : {std::pair<int64_t, int64_t>{4, 4}, {6, 2}, {4, 1}}) {
    const auto table = table_of(90, 16);
    const int64_t H = heads, G = kv_heads;
    const auto operation = [&](const Tensors& in) {
      const auto [q, k, v] = rotated_heads(in[0] * 1, H, G, table);  // a product of its own, whose memory may be taken
      return Tensors{q, k, v};
    };
    const auto formula = [&](const Tensors& in) {
      const auto all = in[0].view({90, H + 2 * G, 16});
      return Tensors{exact_rope(all.narrow(1, 0, H), table), exact_rope(all.narrow(1, H, G), table), all.narrow(1, H + G, G)};
    };
    expect_equal_to_formula({at::randn({90, (H + 2 * G) * 16})}, operation, formula);
    for (size_t which : {0, 1, 2}) {
      expect_equal_to_formula({at::randn({90, (H + 2 * G) * 16})}, [&](const Tensors& in) { return Tensors{operation(in)[which]}; },
                              [&](const Tensors& in) { return Tensors{formula(in)[which]}; });
    }
  }
}

TEST_P(Elementwise, RotatedHeadsAreNoViewsAndTheirProductsOperatorMustNotKeepIt) {
  const auto table = table_of(5, 16);
  const auto x = at::randn({5, 3 * 16}).set_requires_grad(true);
  const auto heads = rotated_heads(x * 1, 1, 1, table);
  for (const auto& part : {heads.q, heads.k, heads.v}) EXPECT_FALSE(part.is_view());
  const auto kept = rotated_heads(x.exp(), 1, 1, table);  // the gradient of exp is its output
  EXPECT_THROW(torch::autograd::grad({kept.q.sum()}, {x}), c10::Error);
}

TEST_P(Elementwise, ShapesThatDoNotFitAreRefused) {
  const auto x = at::randn({4, 8});
  EXPECT_THROW(rms_norm(x, at::ones(4), 1e-6), c10::Error);
  EXPECT_THROW(add_rms_norm(x, at::randn({1, 8}), at::ones(8), 1e-6), c10::Error);
  EXPECT_THROW(swiglu(at::randn({4, 7})), c10::Error);
  EXPECT_THROW(gated_sum(x, at::randn({1, 8}), at::full({}, 0.5)), c10::Error);
  EXPECT_THROW(apply_rope(at::randn({4, 2, 8}), table_of(3, 8)), c10::Error);
  EXPECT_THROW(apply_rope(at::randn({4, 2, 8}), table_of(4, 16)), c10::Error);
}

TEST_P(Elementwise, ARowDoesNotDependOnItsNeighbours) {
  const auto x = at::randn({41, 2 * 77}), weight = at::randn(2 * 77);
  for (const int64_t row : {0, 7, 40}) {
    const auto alone = x.narrow(0, row, 1);
    EXPECT_TRUE(rms_norm(x, weight, 1e-6)[row].equal(rms_norm(alone, weight, 1e-6)[0]));
    EXPECT_TRUE(swiglu(x)[row].equal(swiglu(alone)[0]));
    EXPECT_TRUE(gated_sum(x, x, at::full({}, 0.7))[row].equal(gated_sum(alone, alone, at::full({}, 0.7))[0]));
    for (const auto& operation : std::vector<std::function<at::Tensor(const at::Tensor&)>>{
             [](const at::Tensor& in) { return swiglu(in); }, [&](const at::Tensor& in) { return rms_norm(in, weight, 1e-6); }}) {
      const auto gradient = [&](const at::Tensor& of) {
        const auto in = of.clone().set_requires_grad(true);
        return torch::autograd::grad({operation(in).sum()}, {in})[0];
      };
      EXPECT_TRUE(gradient(x)[row].equal(gradient(alone)[0]));
    }
  }
}

TEST(ElementwiseInBfloat16, KeepsItsTypeAndIsRoundedAFewTimes) {
  at::manual_seed(4);
  const auto weight = at::randn(64).to(at::kBFloat16);
  const auto x = at::randn({9, 64}).to(at::kBFloat16).set_requires_grad(true);
  const auto added = at::randn({9, 64}).to(at::kBFloat16);
  const auto [sum, normed] = add_rms_norm(x, added, weight, 1e-6);
  const auto out = gated_sum(swiglu(at::cat({normed, sum}, 1)), sum, at::full({}, 0.5));
  EXPECT_EQ(out.scalar_type(), at::kBFloat16);
  const auto exact_x = x.detach().to(at::kDouble).set_requires_grad(true);
  const auto exact_sum = exact_x + added.to(at::kDouble), exact_normed = exact_norm(exact_sum, weight, 1e-6);
  const auto exact = exact_normed * exact_normed.sigmoid() * exact_sum + 0.5 * exact_sum;
  const auto direction = at::randn(out.sizes()).to(at::kBFloat16);
  // bfloat16 rounds by up to 2^-9; about six roundings follow one another.
  constexpr double kRoundings = 6.0 / 512;
  expect_close(out.detach(), exact.detach(), "output", kRoundings);
  expect_close(torch::autograd::grad({out}, {x}, {direction})[0],
               torch::autograd::grad({exact}, {exact_x}, {direction.to(at::kDouble)})[0], "gradient", kRoundings);
}

struct Lengths {
  const char* name;
  std::vector<int64_t> q, k;
  bool causal;
};

class PackedAttentionOf : public testing::TestWithParam<Lengths> {};

TEST_P(PackedAttentionOf, EqualsItsFormula) {
  at::manual_seed(5);
  const auto& param = GetParam();
  const auto offsets = [](const std::vector<int64_t>& lengths) {
    std::vector<int64_t> result = {0};
    for (const int64_t length : lengths) result.push_back(result.back() + length);
    return result;
  };
  const auto q_offsets = offsets(param.q), k_offsets = offsets(param.k);
  const PackedSequences queries(q_offsets, at::kCPU), keys(k_offsets, at::kCPU);
  for (const int64_t kv_heads : {6, 2, 1}) {
    const int64_t heads = 6, head_dim = 16;
    const double scale = 0.25;
    const Tensors inputs = {at::randn({q_offsets.back(), heads, head_dim}), at::randn({k_offsets.back(), kv_heads, head_dim}),
                            at::randn({k_offsets.back(), kv_heads, head_dim})};
    const auto formula = [&](const Tensors& in) {
      Tensors outputs;
      for (size_t i = 0; i < param.q.size(); ++i) {
        const auto part = [&](const at::Tensor& x, const std::vector<int64_t>& of) {
          const auto rows = x.narrow(0, of[i], of[i + 1] - of[i]);
          return rows.repeat_interleave(heads / rows.size(1), 1).transpose(0, 1);  // [heads, length, head_dim]
        };
        auto scores = at::matmul(part(in[0], q_offsets), part(in[1], k_offsets).transpose(1, 2)) * scale;
        if (param.causal) scores = scores + at::full({param.q[i], param.q[i]}, -std::numeric_limits<double>::infinity(), at::kDouble).triu(1);
        outputs.push_back(at::matmul(scores.softmax(-1), part(in[2], k_offsets)).transpose(0, 1).flatten(1));
      }
      return Tensors{at::cat(outputs)};
    };
    const auto operation = [&](const Tensors& in) {
      return Tensors{packed_attention(in[0], in[1], in[2], queries, keys, param.causal, scale)};
    };
    expect_equal_to_formula(inputs, operation, formula);
    // An output's gradient whose rows do not lie together.
    expect_equal_to_formula(inputs, [&](const Tensors& in) { return Tensors{operation(in)[0].t()}; },
                            [&](const Tensors& in) { return Tensors{formula(in)[0].t()}; });
    // Queries, keys and values of a layer are views of one row.
    if (param.q != param.k) continue;
    const auto parts = [&](const Tensors& in) {
      return Tensors{in[0].narrow(1, 0, heads), in[0].narrow(1, heads, kv_heads), in[0].narrow(1, heads + kv_heads, kv_heads)};
    };
    expect_equal_to_formula({at::randn({q_offsets.back(), heads + 2 * kv_heads, head_dim})},
                            [&](const Tensors& in) { return operation(parts(in)); },
                            [&](const Tensors& in) { return formula(parts(in)); });
  }
}

TEST(PackedAttention, OfBfloat16DoesNotDependOnNeighbours) {
  at::manual_seed(6);
  const auto random = [](int64_t heads) { return at::randn({12, heads, 16}).to(at::kBFloat16); };
  for (const int64_t kv_heads : {4, 2}) {
    const auto q = random(4), k = random(kv_heads), v = random(kv_heads);
    const PackedSequences all({0, 4, 8, 12}, at::kCPU), one({0, 4}, at::kCPU);
    const auto together = packed_attention(q, k, v, all, all, /*causal=*/true, 0.25);
    const auto part = [](const at::Tensor& x) { return x.narrow(0, 4, 4); };
    EXPECT_TRUE(part(together).equal(packed_attention(part(q), part(k), part(v), one, one, /*causal=*/true, 0.25)));
  }
}

TEST(PackedAttention, RefusesWhatNoSampleCovers) {
  const auto q = at::randn({5, 2, 8}), k = at::randn({4, 2, 8});
  const PackedSequences five({0, 2, 5}, at::kCPU), four({0, 2, 4}, at::kCPU), empty({0, 0, 4}, at::kCPU), one({0, 4}, at::kCPU);
  EXPECT_NO_THROW(packed_attention(q, k, k, five, four, /*causal=*/false, 1.0));
  EXPECT_THROW(packed_attention(q, k, k, four, four, /*causal=*/false, 1.0), c10::Error);
  EXPECT_THROW(packed_attention(q, k, k, five, one, /*causal=*/false, 1.0), c10::Error);
  EXPECT_THROW(packed_attention(q, k, k, five, empty, /*causal=*/false, 1.0), c10::Error);
  EXPECT_THROW(packed_attention(q, k, k, five, four, /*causal=*/true, 1.0), c10::Error);
  EXPECT_THROW(packed_attention(q, at::randn({4, 3, 8}), at::randn({4, 3, 8}), five, four, /*causal=*/false, 1.0), c10::Error);
}

INSTANTIATE_TEST_SUITE_P(Lengths, PackedAttentionOf,
                         testing::Values(Lengths{"Ragged", {5, 1, 40}, {5, 1, 40}, true},
                                         Lengths{"Runs", {7, 7, 7, 3, 3, 7}, {7, 7, 7, 3, 3, 7}, true},
                                         Lengths{"OtherKeys", {7, 7, 3, 3}, {2, 2, 2, 9}, false},
                                         Lengths{"One", {200}, {300}, false}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace layalign::model
