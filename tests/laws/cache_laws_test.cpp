// The laws of the activation cache: whether the encoder's states are read or computed must not matter. Run with 1, 2 and 4 ranks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "checkpoints_tools/file_operations.h"
#include "data/activation_cache/activation_cache.h"
#include "data/error.h"
#include "model/cached_encoder.h"
#include "tests/mpi/test_process.h"
#include "tests/parity/golden.h"

namespace layalign::test {
namespace {

namespace fs = std::filesystem;

// The encoder saw other batches when the cache was built: its float32 sums are regrouped.
constexpr double kFirstLossTolerance = 2e-6;
constexpr double kLaterLossTolerance = 1e-4;  // AdamW amplifies the rounding of small gradients

const char* const kStage1 = "mt5-llama-gqa-stage1-Linear";
const char* const kStage2 = "mt5-qwen2-stage2-Linear";

std::vector<int> tensor_sizes() {
  std::vector<int> sizes;
  for (int tp = 1; tp <= test_process()->world_size(); tp *= 2) sizes.push_back(tp);
  return sizes;
}

dist::ProcessGrid grid_of(int tp) { return dist::make_grid(test_process(), tp, "cpu", "mpi"); }

/// A cache folder that all ranks share, removed by the first one.
class CacheFolder {
 public:
  CacheFolder() {
    const auto mine = fs::temp_directory_path() / ("layalign-laws-" + std::to_string(::getpid()));
    path_ = test_process()->broadcast(mine.string(), 0);
    if (is_first()) fs::create_directories(path_);
    test_process()->barrier();
  }
  ~CacheFolder() {
    test_process()->barrier();
    if (is_first()) fs::remove_all(path_);
  }
  CacheFolder(const CacheFolder&) = delete;
  CacheFolder& operator=(const CacheFolder&) = delete;

  const fs::path& path() const { return path_; }
  static bool is_first() { return test_process()->world_rank() == 0; }

 private:
  fs::path path_;
};

data::CacheForm form_of(const Golden& golden, data::CacheDtype dtype) {
  const auto info = model::read_encoder_info(golden.encoder_folder);
  data::CacheForm form{.encoder_weights = "w", .encoder_config = "c", .compute_precision = "float32", .dtype = dtype,
                       .layers = {}, .width = info.width, .tokenizer = "t"};
  for (int64_t layer = 0; layer <= info.depth; ++layer) form.layers.push_back(layer);
  return form;
}

std::unique_ptr<model::CachedEncoder> cached_encoder(const Golden& golden, const fs::path& folder, data::CacheDtype dtype,
                                                     const model::CacheUse& use, const data::BlockReaderOptions& options = {}) {
  const auto load = [folder = golden.encoder_folder] { return model::load_encoder(folder, at::kCPU, at::kFloat); };
  return std::make_unique<model::CachedEncoder>(
      model::read_encoder_info(golden.encoder_folder), "fingerprint", at::kFloat, at::kCPU, load,
      std::make_unique<data::ActivationCache>(folder, form_of(golden, dtype)), golden.encoder_layers, use,
      options);
}

/// Stores the states of all samples, encoded `together` or one by one. On the first rank.
void build(const Golden& golden, const fs::path& folder, data::CacheDtype dtype, bool together) {
  if (CacheFolder::is_first()) {
    data::ActivationCache::create(folder, form_of(golden, dtype));
    const auto encoder = cached_encoder(golden, folder, dtype, {.read = false, .compute = true, .add = true});
    const size_t count = together ? golden.samples.size() : 1;
    for (size_t i = 0; i < golden.samples.size(); i += count) {
      const auto batch = data::pack(std::span(golden.samples).subspan(i, count), /*bos_id=*/1);
      encoder->encode(batch.source_ids_S, batch.source_offsets, golden.encoder_layers);
    }
    encoder->commit();
  }
  test_process()->barrier();
}

std::vector<double> losses_of(const Golden& golden, const dist::ProcessGrid& grid, std::unique_ptr<model::Encoder> encoder,
                              int64_t micro_batch, int64_t steps = 5) {
  System system(golden, grid);
  if (encoder) system.encoder = std::move(encoder);
  trainer::TrainStep step(grid, {.eps = golden.eps}, system.models());
  std::vector<double> losses;
  for (int64_t i = 0; i < steps; ++i) {
    step.expect(golden.samples, micro_batch);
    losses.push_back(step.run(golden.samples, micro_batch, golden.lr, i + 1).loss);
  }
  return losses;
}

constexpr model::CacheUse kRead{.read = true, .compute = false, .add = false};

TEST(CacheLaws, CachedTrainingFollowsOnlineTrainingOnEveryGrid) {
  for (const char* name : {kStage1, kStage2}) {
    const Golden golden(name);
    const CacheFolder folder;
    build(golden, folder.path(), data::CacheDtype::kFloat32, /*together=*/false);
    for (int tp : tensor_sizes()) {
      const auto online = losses_of(golden, grid_of(tp), nullptr, 3);
      const auto encoder = [&] { return cached_encoder(golden, folder.path(), data::CacheDtype::kFloat32, kRead); };
      const auto cached = losses_of(golden, grid_of(tp), encoder(), 3);
      for (size_t i = 0; i < online.size(); ++i) {
        EXPECT_NEAR(cached[i] / online[i], 1, i == 0 ? kFirstLossTolerance : kLaterLossTolerance) << name << ", tp " << tp;
      }
      EXPECT_EQ(losses_of(golden, grid_of(tp), encoder(), 3), cached) << name << ": the same bytes are read again";
    }
  }
}

TEST(CacheLaws, BitIdenticalWhereTheEncoderSawTheSameBatches) {
  const dist::ProcessGrid alone;
  for (const char* name : {kStage1, kStage2, "xlmr-mistral-stage1-Linear", "nllb-llama-gqa-stage2-MLP", "t5-llama-bias-stage2-MLP",
                           "bert-qwen2-tied-stage1-MLP", "gpt2-qwen2-tied-stage2-Linear", "qwen3-qwen2-tied-stage2-Linear"}) {
    const Golden golden(name);
    const CacheFolder folder;
    build(golden, folder.path(), data::CacheDtype::kFloat32, /*together=*/true);
    const auto count = static_cast<int64_t>(golden.samples.size());
    const auto online = losses_of(golden, alone, nullptr, count);
    EXPECT_EQ(losses_of(golden, alone, cached_encoder(golden, folder.path(), data::CacheDtype::kFloat32, kRead), count), online);
  }
}

TEST(CacheLaws, WhatIsCachedDoesNotMatter) {
  const Golden golden(kStage2);
  const dist::ProcessGrid alone;
  const auto count = static_cast<int64_t>(golden.samples.size());
  for (const auto dtype : {data::CacheDtype::kFloat32, data::CacheDtype::kBfloat16, data::CacheDtype::kFloat8}) {
    const CacheFolder full, empty;
    build(golden, full.path(), dtype, /*together=*/true);
    if (CacheFolder::is_first()) data::ActivationCache::create(empty.path(), form_of(golden, dtype));
    test_process()->barrier();
    const auto losses = [&](const CacheFolder& folder, const model::CacheUse& use) {
      return losses_of(golden, alone, cached_encoder(golden, folder.path(), dtype, use), count);
    };
    const auto read = losses(full, kRead);
    EXPECT_EQ(losses(empty, {.read = true, .compute = true}), read) << data::name_of(dtype) << ": computed states are rounded alike";
    EXPECT_EQ(losses(full, {.read = false, .compute = true}), read) << data::name_of(dtype);
    const auto online = losses_of(golden, alone, nullptr, count);
    EXPECT_EQ(read == online, dtype == data::CacheDtype::kFloat32) << data::name_of(dtype);
  }
}

TEST(CacheLaws, HalfACacheIsFilledWhileTraining) {
  const Golden golden(kStage1);
  for (int tp : tensor_sizes()) {
    const CacheFolder folder;
    if (CacheFolder::is_first()) {
      data::ActivationCache::create(folder.path(), form_of(golden, data::CacheDtype::kFloat32));
      const auto encoder = cached_encoder(golden, folder.path(), data::CacheDtype::kFloat32, {.read = false, .compute = true, .add = true});
      const auto batch = data::pack(std::span(golden.samples).first(3), /*bos_id=*/1);
      encoder->encode(batch.source_ids_S, batch.source_offsets, golden.encoder_layers);
      encoder->commit();
    }
    test_process()->barrier();
    const auto grid = grid_of(tp);
    auto encoder = cached_encoder(golden, folder.path(), data::CacheDtype::kFloat32, {.read = true, .compute = true, .add = true});
    auto* cached = encoder.get();
    System system(golden, grid);
    system.encoder = std::move(encoder);
    trainer::TrainStep step(grid, {.eps = golden.eps}, system.models());
    const auto expected = golden.tensor("trajectory.loss");
    for (int64_t i = 0; i < 3; ++i) {
      const double loss = step.run(golden.samples, 2, golden.lr, i + 1).loss;
      EXPECT_NEAR(loss / expected[i].item<double>(), 1, i == 0 ? 1e-5 : kLaterLossTolerance) << "tp " << tp << ", step " << i;
      cached->commit();
    }
    test_process()->barrier();
    const data::ActivationCache cache(folder.path(), form_of(golden, data::CacheDtype::kFloat32));
    for (const auto& sample : golden.samples) EXPECT_TRUE(cache.find(data::cache_key(sample.source))) << sample.origin;
  }
}

TEST(CacheLaws, ThePieceOfMemoryDoesNotMatter) {
  const Golden golden(kStage1);
  const CacheFolder folder;
  build(golden, folder.path(), data::CacheDtype::kFloat32, /*together=*/false);
  const auto losses = [&](int64_t limit, int threads) {
    const data::BlockReaderOptions options{.threads = threads, .memory_limit_bytes = limit};
    return losses_of(golden, dist::ProcessGrid(), cached_encoder(golden, folder.path(), data::CacheDtype::kFloat32, kRead, options), 2);
  };
  const auto plenty = losses(int64_t{1} << 30, 2);
  for (const int64_t limit : {1, 4096, 100'000}) EXPECT_EQ(losses(limit, 3), plenty) << limit << " bytes";
}

/// The files under a cache that cannot be written any more.
class FullDisk {
 public:
  FullDisk() {
    checkpoints_tools::set_file_hook([](const checkpoints_tools::FileOperation&) {
      return checkpoints_tools::FileFault{checkpoints_tools::FileFault::Kind::kError, ENOSPC};
    });
  }
  ~FullDisk() { checkpoints_tools::set_file_hook({}); }
};

TEST(CacheLaws, AFullDiskEndsAddingAndNotTheRun) {
  const Golden golden(kStage1);
  const dist::ProcessGrid alone;
  const CacheFolder folder;
  if (CacheFolder::is_first()) data::ActivationCache::create(folder.path(), form_of(golden, data::CacheDtype::kFloat32));
  test_process()->barrier();
  for (const int64_t limit : {int64_t{1}, int64_t{1} << 30}) {  // each text is written at once, or all by commit()
    auto encoder = cached_encoder(golden, folder.path(), data::CacheDtype::kFloat32, {.read = true, .compute = true, .add = true},
                                  {.memory_limit_bytes = limit});
    auto* cached = encoder.get();
    System system(golden, alone);
    system.encoder = std::move(encoder);
    trainer::TrainStep step(alone, {.eps = golden.eps}, system.models());
    const auto online = losses_of(golden, alone, nullptr, 2, 3);
    const FullDisk full;
    for (int64_t i = 0; i < 3; ++i) {
      EXPECT_EQ(step.run(golden.samples, 2, golden.lr, i + 1).loss, online[i]) << "step " << i;
      cached->commit();
    }
    EXPECT_THAT(cached->adding_ended_by(), testing::HasSubstr(folder.path().string()));
    EXPECT_THAT(cached->adding_ended_by(), testing::HasSubstr("No space left on device"));
  }
  test_process()->barrier();
  EXPECT_EQ(data::ActivationCache(folder.path(), form_of(golden, data::CacheDtype::kFloat32)).texts(), 0);
}

TEST(CacheLaws, ComputedInBfloat16ItIsReadBitForBit) {
  const Golden golden(kStage2);
  const auto batch = data::pack(golden.samples, /*bos_id=*/1);
  const auto load = [&] { return model::load_encoder(golden.encoder_folder, at::kCPU, at::kBFloat16); };
  const auto online = load()->encode(batch.source_ids_S, batch.source_offsets, golden.encoder_layers);
  const CacheFolder folder;
  auto form = form_of(golden, data::CacheDtype::kBfloat16);
  form.compute_precision = "bfloat16";
  const auto encode = [&](const model::CacheUse& use) {
    const model::CachedEncoder encoder(model::read_encoder_info(golden.encoder_folder), "fingerprint", at::kBFloat16, at::kCPU, load,
                                       std::make_unique<data::ActivationCache>(folder.path(), form), golden.encoder_layers, use, {});
    const auto states = encoder.encode(batch.source_ids_S, batch.source_offsets, golden.encoder_layers);
    encoder.commit();
    return states;
  };
  if (CacheFolder::is_first()) {
    data::ActivationCache::create(folder.path(), form);
    encode({.read = false, .compute = true, .add = true});
  }
  test_process()->barrier();
  const auto read = encode(kRead);
  EXPECT_EQ(read.layers_ESD.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(read.layers_ESD.equal(online.layers_ESD));
  EXPECT_TRUE(read.last_SD.equal(online.last_SD));
}

TEST(CacheLaws, AMissingSampleIsNamed) {
  const Golden golden(kStage1);
  const CacheFolder folder;
  if (CacheFolder::is_first()) data::ActivationCache::create(folder.path(), form_of(golden, data::CacheDtype::kFloat32));
  test_process()->barrier();
  const auto encoder = cached_encoder(golden, folder.path(), data::CacheDtype::kFloat32, kRead);
  const auto batch = data::pack(std::span(golden.samples).first(2), /*bos_id=*/1);
  try {
    model::encode_shared(*encoder, batch, golden.encoder_layers, dist::Communicator());
    FAIL() << "nothing was refused";
  } catch (const data::DataError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr(golden.samples[0].origin));
    EXPECT_THAT(error.what(), testing::HasSubstr("not in the cache"));
  }
}

}  // namespace
}  // namespace layalign::test
