#include "trainer/weights_hash.h"

#include <gtest/gtest.h>

#include "tests/unit/trainer/scratch_folder.h"

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;

const fs::path kModel = LAYALIGN_TEST_DATA "/golden/models/mt5";

/// A copy of a golden model, and what remembers its hash.
struct Model {
  Model() { fs::copy(kModel, folder / "model", fs::copy_options::recursive); }
  std::string hash() const { return hash_weights(folder / "model", memory(), nullptr, [](const auto& piece) { piece(); }); }
  fs::path weights() const { return folder / "model" / "model.safetensors"; }
  fs::path memory() const { return folder / "weights.json"; }

  ScratchFolder folder;
};

TEST(HashWeights, DependsOnTheContentAlone) {
  const Model one, two;
  EXPECT_EQ(one.hash(), two.hash());
  std::string bytes = read_bytes(two.weights());
  bytes.back() ^= 1;
  write_bytes(two.weights(), bytes);
  EXPECT_NE(one.hash(), two.hash());
}

TEST(HashWeights, IsRememberedUntilTheFileChanges) {
  const Model model;
  const std::string hash = model.hash();
  ASSERT_TRUE(fs::exists(model.memory()));
  // What is remembered is believed: another hash in its place comes back.
  std::string memory = read_bytes(model.memory());
  const std::string other(hash.size(), 'f');
  memory.replace(memory.find(hash), hash.size(), other);
  write_bytes(model.memory(), memory);
  EXPECT_EQ(model.hash(), other);
  // Not so for a file that was written again, be it with the same bytes and the old time.
  const auto time = fs::last_write_time(model.weights());
  write_bytes(model.weights(), read_bytes(model.weights()));
  fs::last_write_time(model.weights(), time);
  EXPECT_EQ(model.hash(), hash);
}

TEST(HashWeights, AMemoryThatIsDamagedOrCannotBeWrittenIsNoError) {
  const Model model;
  const std::string hash = model.hash();
  write_bytes(model.memory(), "{\"files\": ");
  EXPECT_EQ(model.hash(), hash);
  const auto nowhere = model.folder / "missing" / "weights.json";
  EXPECT_EQ(hash_weights(model.folder / "model", nowhere, nullptr, [](const auto& piece) { piece(); }), hash);
  EXPECT_FALSE(fs::exists(nowhere));
}

}  // namespace
}  // namespace layalign::trainer
