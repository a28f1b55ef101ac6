#include "trainer/trainables_file.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "checkpoints_tools/safetensors.h"
#include "tests/unit/trainer/scratch_folder.h"
#include "trainer/error.h"

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;
using checkpoints_tools::CheckpointError;
using checkpoints_tools::write_safetensors;
using testing::AllOf;
using testing::HasSubstr;

const TrainableLayout kLayout{{"mapping.linear1.weight", {2, 3}}, {"mapping.end_boundary", {4}}, {"gates", {1}}};

at::Tensor some_flat() { return at::arange(11, at::kFloat) * 0.25 - 1.0; }

std::string refusal(const fs::path& path, const TrainableLayout& layout = kLayout) {
  try {
    load_trainables(path, layout);
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "not refused";
}

TEST(TrainablesFile, RoundTripsByName) {
  const ScratchFolder scratch;
  const auto path = scratch / "trainables.safetensors";
  save_trainables(path, kLayout, some_flat());
  EXPECT_TRUE(load_trainables(path, kLayout).equal(some_flat()));
  EXPECT_TRUE(checkpoints_tools::SafetensorsFile(path).read("gates").equal(some_flat().narrow(0, 10, 1)));
}

TEST(TrainablesFile, TakesHalfPrecision) {
  const ScratchFolder scratch;
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    for (const auto& [name, tensor] : split_flat(kLayout, some_flat())) tensors.emplace_back(name, tensor.to(type));
    write_safetensors(scratch / "half.safetensors", tensors);
    const at::Tensor flat = load_trainables(scratch / "half.safetensors", kLayout);
    EXPECT_EQ(flat.scalar_type(), at::kFloat);
    EXPECT_TRUE(flat.equal(some_flat()));  // quarters are exact in both
  }
}

TEST(TrainablesFile, AnExportedAdapterMeansItsWeights) {
  const ScratchFolder scratch;
  save_trainables(scratch / "adapter.safetensors", kLayout, some_flat());
  EXPECT_TRUE(load_trainables(scratch.path(), kLayout).equal(some_flat()));
}

TEST(TrainablesFile, FoldersMeanTheFileInside) {
  const ScratchFolder scratch;
  for (const char* stage : {"1-translation", "2-task", "10-more", "3-unfinished"})
    fs::create_directory(scratch / stage);
  EXPECT_THAT(refusal(scratch.path()), AllOf(HasSubstr("no trained weights here"), HasSubstr(scratch.path().string())));
  save_trainables(scratch / "1-translation/trainables.safetensors", kLayout, some_flat());
  save_trainables(scratch / "2-task/trainables.safetensors", kLayout, some_flat() + 1);
  EXPECT_TRUE(load_trainables(scratch / "1-translation", kLayout).equal(some_flat()));
  EXPECT_TRUE(load_trainables(scratch.path(), kLayout).equal(some_flat() + 1));
  const auto place = find_trainables(scratch.path());
  EXPECT_EQ(place.file, scratch / "2-task/trainables.safetensors");
  EXPECT_THAT(place.unfinished, testing::ElementsAre("3-unfinished", "10-more"));
  EXPECT_THAT(find_trainables(scratch / "1-translation").unfinished, testing::IsEmpty());
  save_trainables(scratch / "10-more/trainables.safetensors", kLayout, some_flat() + 2);
  EXPECT_TRUE(load_trainables(scratch.path(), kLayout).equal(some_flat() + 2));
  EXPECT_THAT(find_trainables(scratch.path()).unfinished, testing::IsEmpty());
}

TEST(TrainablesFile, NamesEverythingThatIsWrongAtOnce) {
  const ScratchFolder scratch;
  const auto path = scratch / "other.safetensors";
  write_safetensors(path, {{"mapping.linear1.weight", at::zeros({3, 2})},
                           {"aligner.fc3.bias", at::zeros({5})},
                           {"gates", at::zeros({1}, at::kLong)}});
  EXPECT_THAT(
      refusal(path),
      AllOf(HasSubstr(path.string()), HasSubstr("wrong shape: mapping.linear1.weight: expected [2, 3], got [3, 2]"),
            HasSubstr("missing: mapping.end_boundary [4]"), HasSubstr("unexpected: aligner.fc3.bias [5]"),
            HasSubstr("wrong kind: gates: expected F32, BF16 or F16, got I64")));
}

TEST(TrainablesFile, RefusesNumbersThatAreNone) {
  const ScratchFolder scratch;
  at::Tensor flat = some_flat();
  flat[7] = std::numeric_limits<float>::quiet_NaN();
  save_trainables(scratch / "nan.safetensors", kLayout, flat);
  EXPECT_THAT(refusal(scratch / "nan.safetensors"), HasSubstr("holds NaN or Inf: mapping.end_boundary"));
}

TEST(TrainablesFile, AGoldenFileGivesItsInitialState) {
  const fs::path path = fs::path(LAYALIGN_TEST_DATA) / "golden/mt5-llama-stage1-Linear.safetensors";
  const checkpoints_tools::SafetensorsFile golden(path);
  TrainableLayout layout;
  for (const char* name : {"gates", "mapping.end_boundary", "aligner.fc1.weight", "aligner.fc1.bias",
                           "aligner.fc2.weight", "aligner.fc2.bias", "mapping.linear1.weight", "mapping.linear1.bias",
                           "mapping.linear2.weight", "mapping.linear2.bias"}) {
    layout.emplace_back(name, golden.tensors().at(std::string("init.") + name).shape);
  }
  const at::Tensor flat = load_trainables(path, layout);
  for (const auto& [name, tensor] : split_flat(layout, flat)) EXPECT_TRUE(tensor.equal(golden.read("init." + name)));

  layout.pop_back();
  EXPECT_THAT(refusal(path, layout), HasSubstr("unexpected: init.mapping.linear2.bias [48]"));
}

TEST(TrainablesFile, AFolderThatIsNotThereIsAnIoError) {
  EXPECT_THROW(save_trainables("/nowhere/trainables.safetensors", kLayout, some_flat()), IoError);
}

TEST(TrainablesFile, AFlatBufferOfAnotherSizeIsRefused) {
  EXPECT_THROW(split_flat(kLayout, at::zeros({12})), c10::Error);
}

}  // namespace
}  // namespace layalign::trainer
