// checkpoints_tools/convert_bin.py on folders that tests/cli/make_pickles.py makes, read back by this project's reader.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/weight_folder.h"
#include "tests/cli/program.h"

namespace layalign::test {
namespace {

namespace fs = std::filesystem;
using checkpoints_tools::SafetensorsFile;
using checkpoints_tools::WeightFolder;
using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kPython = LAYALIGN_TEST_PYTHON;

std::set<std::string> files_of(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename());
  return names;
}

/// The folders of make_pickles.py, made once for all tests.
class ConvertBin : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    work_ = new WorkFolder;
    const auto made = python("tests/cli/make_pickles.py " + work_->path("").string());
    ASSERT_EQ(made.code, 0) << made.output;
  }
  static void TearDownTestSuite() {
    delete work_;
    work_ = nullptr;
  }

  /// Runs a script of the repository.
  static Outcome python(const std::string& arguments) {
    return run_command(std::string("cd " LAYALIGN_SOURCE_DIR " && ") + kPython + " " + arguments);
  }
  static fs::path folder(const std::string& name) { return work_->path(name); }
  static Outcome convert(const std::string& name, const std::string& options = "") {
    return python("checkpoints_tools/convert_bin.py " + folder(name).string() + options);
  }

  /// Whether a converted folder holds the expected tensors, to the bit.
  static void expect_weights(const std::string& name) {
    const WeightFolder weights(folder(name));
    std::set<std::string> expected;
    for (const auto& tensor : files_of(folder(name) / "expected")) expected.insert(tensor);
    const auto names = weights.names();
    EXPECT_EQ(std::set<std::string>(names.begin(), names.end()), expected);
    for (const auto& tensor_name : expected) {
      const at::Tensor tensor = weights.read(tensor_name);
      const std::string bytes = read_file(folder(name) / "expected" / tensor_name);
      ASSERT_EQ(tensor.nbytes(), bytes.size()) << tensor_name;
      EXPECT_TRUE(bytes.empty() || std::memcmp(tensor.const_data_ptr(), bytes.data(), bytes.size()) == 0)
          << tensor_name;
    }
  }

  static WorkFolder* work_;
};
WorkFolder* ConvertBin::work_ = nullptr;

TEST_F(ConvertBin, TheErrorOnPickledWeightsNamesACommandThatHelps) {
  std::string message;
  try {
    WeightFolder weights(folder("legacy"));
  } catch (const checkpoints_tools::CheckpointError& error) {
    message = error.what();
  }
  const std::string command = "checkpoints_tools/convert_bin.py " + folder("legacy").string();
  ASSERT_THAT(message, HasSubstr(".venv/bin/python " + command));
  const auto outcome = python(command);  // "legacy" is of the format before torch 1.6
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  expect_weights("legacy");
}

TEST_F(ConvertBin, ASingleFileKeepsEveryBit) {
  const auto before = files_of(folder("single"));
  const auto outcome = convert("single");
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("pytorch_model.bin -> model.safetensors: 17 tensors"),
                                    HasSubstr("lm_head.weight is the same tensor as shared.weight and written once")));
  expect_weights("single");
  auto after = files_of(folder("single"));
  EXPECT_EQ(after.erase("model.safetensors"), 1u);
  EXPECT_EQ(after, before);  // no temporary file is left

  const SafetensorsFile file(folder("single") / "model.safetensors");
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "pt"},
                                                                 {"encoder.embed_tokens.weight", "shared.weight"},
                                                                 {"lm_head.weight", "shared.weight"}}));
  EXPECT_EQ(file.tensors().at("transposed").shape, (std::vector<int64_t>{6, 4}));
  EXPECT_EQ(file.tensors().at("scalar").shape, std::vector<int64_t>{});
  EXPECT_EQ(file.tensors().at("empty").shape, (std::vector<int64_t>{0, 4}));
  for (const auto& [name, dtype] : std::vector<std::pair<std::string, std::string>>{{"transposed", "F32"},
                                                                                    {"bfloat16", "BF16"},
                                                                                    {"float16", "F16"},
                                                                                    {"float64", "F64"},
                                                                                    {"float8", "F8_E4M3"},
                                                                                    {"int64", "I64"},
                                                                                    {"int8", "I8"},
                                                                                    {"uint8", "U8"},
                                                                                    {"bool", "BOOL"}}) {
    EXPECT_EQ(file.tensors().at(name).dtype, dtype);
  }
}

TEST_F(ConvertBin, ShardsStayShardsAndNothingIsOverwrittenUnasked) {
  const auto outcome = convert("sharded");
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  expect_weights("sharded");
  const auto index = nlohmann::json::parse(read_file(folder("sharded") / "model.safetensors.index.json"));
  EXPECT_EQ(index["weight_map"]["b"], "model-00001-of-00002.safetensors");
  EXPECT_EQ(index["weight_map"]["c"], "model-00002-of-00002.safetensors");
  EXPECT_EQ(index["metadata"]["total_size"], 4 * 14 + 2 * 5);

  const fs::path shard = folder("sharded") / "model-00002-of-00002.safetensors";
  std::ofstream(shard) << "mine";
  const auto again = convert("sharded");
  EXPECT_EQ(again.code, 65);
  EXPECT_THAT(again.output, HasSubstr("exists already; --force replaces it"));
  EXPECT_EQ(read_file(shard), "mine");
  EXPECT_EQ(convert("sharded", " --force").code, 0);
  expect_weights("sharded");
}

TEST_F(ConvertBin, NothingInAPickleIsRun) {
  const auto outcome = convert("program");
  EXPECT_EQ(outcome.code, 65);
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("program/pytorch_model.bin"), HasSubstr("nothing of it was run")));
  EXPECT_FALSE(fs::exists(folder("program_ran")));
  EXPECT_EQ(files_of(folder("program")), std::set<std::string>{"pytorch_model.bin"});
}

TEST_F(ConvertBin, WhatCannotBeConvertedIsNamedAndLeavesNothingBehind) {
  for (const auto& [name, what] : std::vector<std::pair<std::string, std::string>>{
           {"checkpoint", "'model' is a dict and not a tensor"},
           {"complex", "'a' is torch.strided, torch.complex64, which safetensors cannot hold"},
           {"list", "holds no weights by name, but a list"},
           {"torn", "torn/pytorch_model.bin: not a file of torch.save, or a damaged one"},
           {"last_shard_torn", "pytorch_model-00002-of-00002.bin: not a file of torch.save"},
           {"shard_missing", "the shard 'pytorch_model-00002-of-00002.bin' is missing"},
           {"shard_lacks", "tensor 'b': the index lists it, but the shard lacks it"},
           {"unlisted", "tensor 'd': the index does not list it in this shard"}}) {
    const auto before = files_of(folder(name));
    const auto outcome = convert(name);
    EXPECT_EQ(outcome.code, 65) << name;
    EXPECT_THAT(outcome.output, HasSubstr(what)) << name;
    EXPECT_THAT(outcome.output, testing::Not(HasSubstr("Traceback"))) << name;
    EXPECT_EQ(files_of(folder(name)), before) << name;
  }
}

TEST_F(ConvertBin, FoldersAndUsageAreChecked) {
  EXPECT_EQ(python("checkpoints_tools/convert_bin.py").code, 2);
  EXPECT_THAT(convert("nowhere").output, HasSubstr("nowhere: is not a folder that exists"));
  fs::create_directory(folder("bare"));
  const auto bare = convert("bare");
  EXPECT_EQ(bare.code, 65);
  EXPECT_THAT(bare.output, HasSubstr("there is nothing to convert"));
}

}  // namespace
}  // namespace layalign::test
