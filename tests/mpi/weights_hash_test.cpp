#include "trainer/weights_hash.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dist/error.h"
#include "tests/mpi/test_process.h"
#include "tests/unit/trainer/scratch_folder.h"

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;

void run_at_once(const std::function<void()>& piece) { piece(); }

TEST(HashWeights, IsTheSameForAnyNumberOfRanks) {
  const ScratchFolder folder;
  const fs::path model = LAYALIGN_TEST_DATA "/golden/models/llama";
  const auto alone = hash_weights(model, folder / "missing" / "weights.json", nullptr, run_at_once);
  EXPECT_EQ(hash_weights(model, folder / "missing" / "weights.json", test_process().get(), run_at_once), alone);
}

TEST(HashWeights, RefusesRanksWithOtherCopies) {
  if (test_process()->world_size() == 1) return;  // nobody to differ from
  const ScratchFolder folder;
  const fs::path model = folder / "model", weights = model / "model.safetensors";
  fs::copy(LAYALIGN_TEST_DATA "/golden/models/mt5", model, fs::copy_options::recursive);
  if (test_process()->world_rank() == 1) {
    std::string bytes = read_bytes(weights);
    bytes.back() ^= 1;
    write_bytes(weights, bytes);
  }
  try {
    hash_weights(model, folder / "missing" / "weights.json", test_process().get(), run_at_once);
    ADD_FAILURE() << "was not refused";
  } catch (const dist::CommError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("weights of"));
  }
}

}  // namespace
}  // namespace layalign::trainer
