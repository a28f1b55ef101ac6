#include "checkpoints_tools/public_names.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/foreign_weights.h"
#include "checkpoints_tools/safetensors.h"
#include "tests/unit/checkpoints_tools/temporary_folder.h"

namespace layalign::checkpoints_tools {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kGate = "model_llm.model.model.layers.";

/// Trained weights of E 3, L 2, De 4, D 5, every value another.
TensorMap some_weights(at::ScalarType type = at::kFloat, bool mlp = false) {
  TensorMap tensors;
  double next = 0.125;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape) {
    const int64_t count = c10::multiply_integers(shape);
    tensors.emplace(name, (at::arange(count, at::kDouble) * 0.5 + next).view(shape).to(type));
    next += static_cast<double>(count) / 3;
  };
  const auto linear = [&](const std::string& name, int64_t out, int64_t in) {
    add(name + ".weight", {out, in});
    add(name + ".bias", {out});
  };
  linear("mapping.linear1", 8, 4);
  linear("mapping.linear2", 5, 8);
  add("mapping.end_boundary", {5});
  linear("aligner.fc1", 4, 3);
  linear("aligner.fc2", 5, 4);
  if (mlp) linear("aligner.fc3", 5, 5);
  add("gates", {2});
  return tensors;
}

void expect_bit_equal(const TensorMap& a, const TensorMap& b) {
  for (const TensorDifference& tensor : compare(a, b)) EXPECT_TRUE(tensor.bit_equal) << tensor.name;
}

std::string refusal(const TensorMap& ours, const std::vector<int64_t>& layers = {0, 1}) {
  return message_of<CheckpointError>([&] { to_public(ours, layers); });
}

std::string import_refusal(const TensorMap& publics, std::vector<int64_t> layers = {}) {
  return message_of<CheckpointError>([&] { from_public(publics, layers); });
}

TEST(PublicNames, AreThoseOfThePublicCheckpoint) {
  const TensorMap ours = some_weights(at::kFloat, /*mlp=*/true);
  const TensorMap publics = to_public(ours, {7, 2});
  std::vector<std::string> names;
  for (const auto& [name, tensor] : publics) names.push_back(name);
  EXPECT_THAT(names, ElementsAre("encoder_aligner.projector.fc1.bias", "encoder_aligner.projector.fc1.weight",
                                 "encoder_aligner.projector.fc2.bias", "encoder_aligner.projector.fc2.weight",
                                 "encoder_aligner.projector.fc3.bias", "encoder_aligner.projector.fc3.weight",
                                 "mapping.end_boundary", "mapping.mlp.linear1.bias", "mapping.mlp.linear1.weight",
                                 "mapping.mlp.linear2.bias", "mapping.mlp.linear2.weight",
                                 "model_llm.model.model.layers.2.self_attn.adaption_gate",
                                 "model_llm.model.model.layers.7.self_attn.adaption_gate"));
  EXPECT_THAT(publics.at("mapping.end_boundary").sizes(), ElementsAre(1, 1, 5));
  const at::Tensor& first = publics.at("model_llm.model.model.layers.7.self_attn.adaption_gate");
  EXPECT_THAT(first.sizes(), ElementsAre(1));
  EXPECT_EQ(first.item<float>(), ours.at("gates")[0].item<float>());  // the aligner's order, not the layers'
}

TEST(PublicNames, ThereAndBackKeepsEveryBitTypeAndShape) {
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const bool mlp : {false, true}) {
      const TensorMap ours = some_weights(type, mlp);
      std::vector<int64_t> layers{7, 2};
      expect_bit_equal(from_public(to_public(ours, layers), layers), ours);
    }
  }
}

TEST(PublicNames, WithoutAnOrderTheGatesAscend) {
  const TensorMap ours = some_weights();
  std::vector<int64_t> layers;
  const TensorMap back = from_public(to_public(ours, {10, 9}), layers);
  EXPECT_THAT(layers, ElementsAre(9, 10));
  EXPECT_TRUE(back.at("gates").equal(ours.at("gates").flip(0)));
}

TEST(PublicNames, WhatThePublicCodeCannotHoldIsRefusedByName) {
  TensorMap dynamic = some_weights();
  dynamic.erase("gates");
  dynamic.emplace("gates.weight", at::zeros({2, 5}));
  dynamic.emplace("gates.bias", at::zeros({2}));
  EXPECT_THAT(refusal(dynamic), HasSubstr("dynamic gate"));

  TensorMap ungated = some_weights();
  ungated.erase("gates");
  EXPECT_THAT(refusal(ungated), HasSubstr("no gate"));

  TensorMap linear = some_weights();
  linear.erase("mapping.linear2.weight");
  linear.erase("mapping.linear2.bias");
  linear.erase("aligner.fc1.weight");
  linear.erase("aligner.fc1.bias");
  EXPECT_THAT(refusal(linear), AllOf(HasSubstr("linear mapping"), HasSubstr("uniform_mean")));  // both at once

  TensorMap mapping_alone, aligner_alone;
  for (const auto& [name, tensor] : some_weights())
    (name.starts_with("mapping.") ? mapping_alone : aligner_alone)[name] = tensor;
  EXPECT_THAT(refusal(mapping_alone), HasSubstr("no aligner"));
  EXPECT_THAT(refusal(aligner_alone), HasSubstr("no mapping"));

  TensorMap unknown = some_weights();
  unknown.emplace("aligner.fc4.weight", at::zeros({1}));
  EXPECT_THAT(refusal(unknown), HasSubstr("'aligner.fc4.weight': unknown"));
}

TEST(PublicNames, LayersThatDoNotFitAreRefused) {
  EXPECT_THAT(refusal(some_weights(), {0, 1, 2}), AllOf(HasSubstr("[0, 1, 2]"), HasSubstr("F32 [2]")));
  EXPECT_THAT(refusal(some_weights(), {1, 1}), HasSubstr("each once"));
  EXPECT_THAT(import_refusal(to_public(some_weights(), {0, 4}), {0, 3}),
              AllOf(HasSubstr("[0, 4]"), HasSubstr("[0, 3]")));
}

TEST(PublicNames, UnknownMissingAndMisshapenOnesAreAllNamed) {
  TensorMap publics = to_public(some_weights(), {0, 1});
  publics.emplace("mapping.mlp.linear3.weight", at::zeros({1}));
  publics.emplace(std::string(kGate) + "01.self_attn.adaption_gate", at::zeros({1}));  // a second name of layer 1
  publics.erase("encoder_aligner.projector.fc2.bias");
  publics["mapping.end_boundary"] = at::zeros({5});
  publics[std::string(kGate) + "1.self_attn.adaption_gate"] = at::zeros({2});
  EXPECT_THAT(import_refusal(publics),
              AllOf(HasSubstr("linear3.weight': unknown"), HasSubstr("layers.01.self_attn.adaption_gate': unknown"),
                    HasSubstr("fc2.bias is missing"), HasSubstr("expected [1, 1, D], got F32 [5]"),
                    HasSubstr("layers.1.self_attn.adaption_gate: expected [1]")));
}

TEST(ForeignWeights, AWholeModelsFrozenWeightsArePassedOver) {
  const TemporaryFolder folder;
  TensorMap whole = to_public(some_weights(at::kHalf), {0, 1});
  whole.emplace("model_llm.model.lm_head.weight", at::zeros({3, 5}));
  whole.emplace("model_llm.model.model.layers.0.self_attn.model.q_proj.weight", at::zeros({5, 5}));
  whole.emplace("encoder_mt.shared.weight", at::zeros({7, 4}));
  const auto path = folder / "model.safetensors";
  write_safetensors(path, as_list(whole));
  for (const auto& place : {path, folder.path()}) {  // a file, and a folder as convert_bin.py leaves it
    const ForeignWeights weights = read_foreign(place, "", {});
    expect_bit_equal(weights.tensors, some_weights(at::kHalf));
    EXPECT_EQ(weights.passed_over, 3);
    EXPECT_THAT(weights.language_layers, ElementsAre(0, 1));
  }
  whole.emplace("optimizer.step", at::zeros({1}));
  write_safetensors(path, as_list(whole));
  EXPECT_THAT(message_of<CheckpointError>([&] { read_foreign(path, "", {}); }), HasSubstr("'optimizer.step': unknown"));
}

TEST(ForeignWeights, TheOraclesNamesAreOursPlainOrBehindAPrefix) {
  const TemporaryFolder folder;
  TensorMap golden{{"sample0.logits", at::zeros({2})}};
  for (const auto& [name, tensor] : some_weights()) {
    golden.emplace("init." + name, tensor);
    golden.emplace("final." + name, tensor * 2);
  }
  const auto path = folder / "golden.safetensors";
  write_safetensors(path, as_list(golden), {{"language_layers", "[2, 0]"}});
  const ForeignWeights init = read_foreign(path, "", {});
  expect_bit_equal(init.tensors, some_weights());
  EXPECT_THAT(init.language_layers, ElementsAre(2, 0));
  EXPECT_TRUE(read_foreign(path, "final.", {}).tensors.at("gates").equal(some_weights().at("gates") * 2));
  EXPECT_THAT(message_of<CheckpointError>([&] { read_foreign(path, "last.", {}); }), HasSubstr("'last.'"));

  write_safetensors(path, as_list(some_weights()));
  expect_bit_equal(read_foreign(path, "", {}).tensors, some_weights());
}

TEST(ForeignWeights, APickledFileIsRefusedWithItsConverter) {
  const TemporaryFolder folder;
  for (const char* begin : {"PK\x03\x04 and more", "\x80\x02 and more"}) {
    const auto path = write_bytes(folder / "pytorch_model.bin", begin);
    const auto refused = [&](const auto& place) {
      return message_of<CheckpointError>([&] { read_foreign(place, "", {}); });
    };
    EXPECT_THAT(refused(path), AllOf(HasSubstr("pickled"), HasSubstr("convert_bin.py")));
    EXPECT_THAT(refused(folder.path()), AllOf(HasSubstr("pickled"), HasSubstr("convert_bin.py")));
  }
}

TEST(ForeignWeights, LayersInTheMetadataMustBeLayers) {
  const TemporaryFolder folder;
  write_safetensors(folder / "a", as_list(some_weights()), {{"language_layers", "all"}});
  EXPECT_THAT(message_of<CheckpointError>([&] { language_layers_of(folder / "a"); }), HasSubstr("--language-layers"));
}

}  // namespace
}  // namespace layalign::checkpoints_tools
