#include "checkpoints_tools/weight_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/unit/checkpoints_tools/temporary_folder.h"

namespace layalign::checkpoints_tools {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kShard1 = "model-00001-of-00002.safetensors";
constexpr const char* kShard2 = "model-00002-of-00002.safetensors";

class WeightFolderTest : public ::testing::Test {
 protected:
  /// Tensors a and b in the first shard, c in the second.
  void write_shards() {
    write_safetensors(folder_ / kShard1, {{"a", at::arange(6).reshape({2, 3})}, {"b", at::ones({4})}});
    write_safetensors(folder_ / kShard2, {{"c", at::arange(8).reshape({4, 2})}});
  }

  void write_index(const std::string& weight_map) {
    write_bytes(folder_ / kIndex, R"({"metadata": {"total_size": 128}, "weight_map": )" + weight_map + "}");
  }

  static std::string weight_map(const std::string& a, const std::string& b, const std::string& c) {
    return R"({"a": ")" + a + R"(", "b": ")" + b + R"(", "c": ")" + c + R"("})";
  }

  std::string error() const {
    return message_of<CheckpointError>([&] { WeightFolder{folder_.path()}; });
  }

  TemporaryFolder folder_;
};

TEST_F(WeightFolderTest, SingleFile) {
  const at::Tensor matrix = at::arange(12).reshape({3, 4});
  write_safetensors(folder_ / "model.safetensors", {{"m", matrix}, {"s", at::scalar_tensor(1.5)}});
  const WeightFolder weights(folder_.path());
  EXPECT_THAT(weights.names(), ElementsAre("m", "s"));
  EXPECT_TRUE(weights.contains("m"));
  EXPECT_FALSE(weights.contains("absent"));
  EXPECT_THAT(weights.shape("m"), ElementsAre(3, 4));
  EXPECT_TRUE(weights.read("m").equal(matrix));
  EXPECT_TRUE(weights.read_slice("m", 1, 1, 3).equal(matrix.narrow(1, 1, 2)));
  EXPECT_EQ(weights.where("m"), (folder_ / "model.safetensors").string());
  EXPECT_THAT(message_of<CheckpointError>([&] { weights.read("absent"); }),
              AllOf(StartsWith(folder_.path().string()), HasSubstr("has no tensor 'absent' among its 2")));
}

TEST_F(WeightFolderTest, ShardsAreOneSetOfTensors) {
  write_shards();
  write_index(weight_map(kShard1, kShard1, kShard2));
  const WeightFolder weights(folder_.path());
  EXPECT_THAT(weights.names(), ElementsAre("a", "b", "c"));
  EXPECT_TRUE(weights.read("a").equal(at::arange(6).reshape({2, 3})));
  EXPECT_TRUE(weights.read_slice("c", 0, 1, 3).equal(at::arange(2, 6).reshape({2, 2})));
  EXPECT_EQ(weights.where("b"), (folder_ / kShard1).string());
  EXPECT_EQ(weights.where("c"), (folder_ / kShard2).string());
}

TEST_F(WeightFolderTest, TheSingleFileWinsOverTheIndexAsInTransformers) {
  write_shards();
  write_index(weight_map(kShard1, kShard1, kShard2));
  write_safetensors(folder_ / "model.safetensors", {{"whole", at::ones({1})}});
  EXPECT_THAT(WeightFolder(folder_.path()).names(), ElementsAre("whole"));
}

TEST_F(WeightFolderTest, FilesMayBeSymbolicLinksAsInTheHubCache) {
  std::filesystem::create_directories(folder_ / "blobs");
  std::filesystem::create_directories(folder_ / "snapshots/x");
  write_safetensors(folder_ / "blobs/0123", {{"a", at::ones({2})}});
  std::filesystem::create_symlink("../../blobs/0123", folder_ / "snapshots/x/model.safetensors");
  const WeightFolder weights(folder_ / "snapshots/x");
  EXPECT_TRUE(weights.read("a").equal(at::ones({2})));
}

TEST_F(WeightFolderTest, FoldersWithoutWeightsAreRefused) {
  EXPECT_THAT(message_of<CheckpointError>([&] { WeightFolder(folder_ / "absent"); }),
              HasSubstr("absent: is not a folder that exists"));
  EXPECT_THAT(error(), HasSubstr("holds no weights: expected model.safetensors or model.safetensors.index.json"));
  write_bytes(folder_ / "pytorch_model-00001-of-00002.bin", "\x80\x02");
  EXPECT_THAT(error(), AllOf(HasSubstr("pickled weights (pytorch_model-00001-of-00002.bin)"),
                             HasSubstr("checkpoints_tools/convert_bin.py " + folder_.path().string())));
  std::filesystem::create_symlink("nowhere", folder_ / "model.safetensors");
  EXPECT_THAT(error(), HasSubstr("model.safetensors: cannot open it: No such file or directory"));
}

TEST_F(WeightFolderTest, PipeIsRefusedAtOnce) {
  ASSERT_EQ(::mkfifo((folder_ / kIndex).c_str(), 0600), 0);
  EXPECT_THAT(error(), HasSubstr("index.json: is not a regular file"));
  ASSERT_EQ(::mkfifo((folder_ / "model.safetensors").c_str(), 0600), 0);
  EXPECT_THAT(error(), HasSubstr("model.safetensors: is not a regular file"));
}

TEST_F(WeightFolderTest, ShardNamesThatLeaveTheFolderAreRefused) {
  write_shards();
  for (const std::string name :
       {"../model.safetensors", "/etc/passwd", "sub/model.safetensors", "..", ".", "", "a\\\\b", "a\\u0000b"}) {
    SCOPED_TRACE(name);
    write_index(weight_map(kShard1, kShard1, name));
    EXPECT_THAT(error(), AllOf(StartsWith((folder_ / kIndex).string()), HasSubstr("is not a plain file name"),
                               HasSubstr("'c'")));
  }
}

TEST_F(WeightFolderTest, IndexAndShardsMustAgree) {
  write_shards();
  write_index(R"({"a": ")" + std::string(kShard1) + R"(", "c": ")" + kShard2 + R"("})");
  EXPECT_THAT(error(), AllOf(HasSubstr("holds tensor 'b'"), HasSubstr("does not list")));
  write_index(weight_map(kShard1, kShard2, kShard2));
  EXPECT_THAT(error(), AllOf(HasSubstr("holds tensor 'b'"), HasSubstr("says is in '" + std::string(kShard2))));
  write_safetensors(folder_ / kShard1, {{"a", at::ones({2})}});
  write_index(weight_map(kShard1, kShard1, kShard2));
  EXPECT_THAT(error(), AllOf(HasSubstr("tensor 'b' is in '" + std::string(kShard1)), HasSubstr("does not hold it")));
  std::filesystem::remove(folder_ / kShard2);
  EXPECT_THAT(error(), HasSubstr("the shard '" + std::string(kShard2) + "' is missing"));
}

TEST_F(WeightFolderTest, TensorInTwoShardsIsRefused) {
  write_shards();
  write_safetensors(folder_ / kShard2, {{"a", at::ones({2})}, {"c", at::ones({2})}});
  write_index(weight_map(kShard1, kShard1, kShard2));
  EXPECT_THAT(error(), AllOf(HasSubstr(kShard2), HasSubstr("holds tensor 'a'")));
}

TEST_F(WeightFolderTest, MalformedIndexIsRefused) {
  write_shards();
  for (const std::string text :
       {"{", "[]", "{}", R"({"weight_map": []})", R"({"weight_map": {}})", R"({"weight_map": {"a": 1}})",
        R"({"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}})"}) {
    SCOPED_TRACE(text);
    write_bytes(folder_ / kIndex, text);
    EXPECT_THAT(error(), StartsWith((folder_ / kIndex).string()));
  }
}

TEST_F(WeightFolderTest, DamagedShardIsNamed) {
  write_shards();
  write_index(weight_map(kShard1, kShard1, kShard2));
  std::filesystem::resize_file(folder_ / kShard2, std::filesystem::file_size(folder_ / kShard2) - 1);
  EXPECT_THAT(error(), AllOf(StartsWith((folder_ / kShard2).string()), HasSubstr("is truncated")));
}

TEST_F(WeightFolderTest, FingerprintFollowsTheContent) {
  const auto path = folder_ / "model.safetensors";
  const auto fingerprint = [](const std::filesystem::path& dir) { return WeightFolder(dir).fingerprint(); };
  write_safetensors(path, {{"a", at::zeros({1000})}});
  const std::string first = fingerprint(folder_.path());
  EXPECT_EQ(first.size(), 32U);
  EXPECT_EQ(first, fingerprint(folder_.path()));

  const TemporaryFolder elsewhere;
  std::filesystem::copy_file(path, elsewhere / "model.safetensors");
  EXPECT_EQ(first, fingerprint(elsewhere.path()));

  at::Tensor changed = at::zeros({1000});
  changed[500] = 1;
  write_safetensors(path, {{"a", changed}});
  EXPECT_NE(first, fingerprint(folder_.path()));
  write_safetensors(path, {{"b", at::zeros({1000})}});
  EXPECT_NE(first, fingerprint(folder_.path()));
}

TEST_F(WeightFolderTest, FingerprintSamplesBigFiles) {
  constexpr uint64_t kMiB = 1 << 20;
  const std::string header = R"({"a":{"dtype":"U8","shape":[157286400],"data_offsets":[0,157286400]}})";
  const auto path = write_bytes(folder_ / "model.safetensors", safetensors_bytes(header, 0));
  std::filesystem::resize_file(path, 8 + header.size() + 150 * kMiB);  // sparse
  const auto fingerprint_with = [&](uint64_t byte) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(byte)).put('x');
    file.close();
    const std::string result = WeightFolder(folder_.path()).fingerprint();
    file.open(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(byte)).put('\0');
    return result;
  };
  const std::string plain = WeightFolder(folder_.path()).fingerprint();
  const uint64_t last = std::filesystem::file_size(path) - 1;
  for (const uint64_t sampled : {kMiB - 1, 64 * kMiB, 65 * kMiB - 1, 128 * kMiB, last - kMiB + 1, last}) {
    EXPECT_NE(fingerprint_with(sampled), plain) << sampled;
  }
  for (const uint64_t skipped : {kMiB, 64 * kMiB - 1, 65 * kMiB, last - kMiB}) {
    EXPECT_EQ(fingerprint_with(skipped), plain) << skipped;
  }
}

}  // namespace
}  // namespace layalign::checkpoints_tools
