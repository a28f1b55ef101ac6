// Damaged activation caches: whatever is changed in the files, the damage is found and the file is named, and no wrong
// number is read.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <cstdlib>
#include <map>
#include <random>

#include "data/activation_cache/shard_layout.h"
#include "data/error.h"
#include "tests/fault/fault_cache.h"

namespace layalign::data {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

/// A whole cache, and its files to put back after each damage.
class CacheDamage : public testing::Test {
 protected:
  CacheDamage() {
    ActivationCache::create(folder_.path(), form_);
    for (const Texts& texts : fault_shards()) shards_.push_back(add_shard(folder_.path(), form_, texts));
    form_file_ = folder_ / "cache.json";
    for (const auto& shard : shards_) manifests_.push_back(manifest_of(shard));
    for (const auto& path : {form_file_, shards_[0], shards_[1], manifests_[0], manifests_[1]})
      whole_[path] = read_bytes(path);
    front_bytes_ = read_manifest(manifests_[0]).front_bytes;
  }

  /// Opens the cache and reads everything: the error; empty where there is none.
  std::string problem() const {
    return message_of<DataError>([&] {
      const ActivationCache cache(folder_.path(), form_);
      int found = 0;
      const std::string wrong = wrong_texts(cache, form_, &found);
      EXPECT_EQ(wrong, "");
    });
  }

  /// The damage to the file must be found, by its name; then the file is whole again.
  void expect_found(const fs::path& path, const std::string& bytes, const std::string& what) {
    ASSERT_NE(bytes, whole_[path]) << what;
    write_bytes(path, bytes);
    EXPECT_THAT(problem(), HasSubstr(path.filename().string())) << what;
    write_bytes(path, whole_[path]);
  }

  /// LAYALIGN_FAULT_FACTOR: so many times more cases, on demand.
  static int cases(int count) {
    const char* factor = std::getenv("LAYALIGN_FAULT_FACTOR");
    return factor ? count * std::atoi(factor) : count;
  }

  void flip_bits(const fs::path& path, size_t begin, size_t end, int count) {
    for (int i = 0; i < cases(count); ++i) {
      std::string bytes = whole_[path];
      const size_t at = std::uniform_int_distribution<size_t>(begin, end - 1)(random_);
      const int bit = std::uniform_int_distribution<int>(0, 7)(random_);
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
      expect_found(path, bytes,
                   path.filename().string() + ": bit " + std::to_string(bit) + " of byte " + std::to_string(at));
    }
  }

  const CacheForm form_ = fault_form();
  const TemporaryFolder folder_;
  fs::path form_file_;
  std::vector<fs::path> shards_, manifests_;
  std::map<fs::path, std::string> whole_;
  int64_t front_bytes_ = 0;
  std::mt19937 random_{20240607};
};

TEST_F(CacheDamage, AWholeCacheIsRead) { EXPECT_EQ(problem(), ""); }

TEST_F(CacheDamage, EveryFlippedBitIsFound) {
  const auto front = static_cast<size_t>(front_bytes_);
  flip_bits(shards_[0], 0, 2048, 100);   // HDF5's superblock and headers
  flip_bits(shards_[1], 0, front, 100);  // the whole front: keys, ids, hashes, what lies between
  flip_bits(shards_[0], front, whole_[shards_[0]].size(), 100);  // states
  flip_bits(manifests_[0], 0, whole_[manifests_[0]].size(), 100);
  flip_bits(form_file_, 0, whole_[form_file_].size(), 100);
}

TEST_F(CacheDamage, EveryTruncationIsFound) {
  for (const fs::path& path : {shards_[0], manifests_[1], form_file_}) {
    const size_t size = whole_[path].size();
    std::vector<size_t> sizes = {0, 1, size / 2, size - 1};
    if (path == shards_[0])
      sizes.insert(sizes.end(), {static_cast<size_t>(front_bytes_), static_cast<size_t>(front_bytes_) - 1});
    for (int i = 0; i < cases(50); ++i) sizes.push_back(std::uniform_int_distribution<size_t>(0, size - 1)(random_));
    for (size_t shorter : sizes) {
      if (path != shards_[0] && shorter + 1 == size) continue;  // the line feed at the end of a JSON file
      expect_found(path, whole_[path].substr(0, shorter), "cut to " + std::to_string(shorter));
    }
  }
  expect_found(shards_[0], whole_[shards_[0]] + '\0', "a byte more");
  expect_found(manifests_[0], whole_[manifests_[0]] + "{}", "more text");
}

TEST_F(CacheDamage, PagesOfZerosAndOnesAreFound) {
  const std::string& whole = whole_[shards_[0]];
  for (size_t page = 0; page < whole.size(); page += 4096) {
    for (char fill : {'\0', '\xff'}) {
      std::string bytes = whole;
      std::fill(bytes.begin() + page, bytes.begin() + std::min(page + 4096, whole.size()), fill);
      if (bytes != whole) expect_found(shards_[0], bytes, "page at " + std::to_string(page));
    }
    for (size_t sector = page; sector < std::min(page + 4096, whole.size()); sector += 512) {
      std::string bytes = whole;
      std::fill(bytes.begin() + sector, bytes.begin() + std::min(sector + 512, whole.size()), '\0');
      if (bytes != whole) expect_found(shards_[0], bytes, "sector at " + std::to_string(sector));
    }
  }
}

TEST_F(CacheDamage, ZerosThatBecomeOnesAreFound) {
  // What HDF5's own checksum, fletcher32, cannot see.
  const Texts texts = {{1, 2, 3}};
  ShardWriter writer(folder_.path(), form_, texts);
  writer.write(0, at::zeros({3, 3, form_.row_bytes()}, at::kByte));
  writer.commit();
  const std::string whole = read_bytes(writer.path());
  const auto front = static_cast<size_t>(read_manifest(manifest_of(writer.path())).front_bytes);
  write_bytes(writer.path(), whole.substr(0, front) + std::string(whole.size() - front, '\xff'));
  const ActivationCache cache(folder_.path(), form_);
  EXPECT_THAT(message_of<DataError>([&] { read_text(*cache.find(cache_key(texts[0])), form_); }),
              HasSubstr(writer.path().filename().string()));
}

TEST_F(CacheDamage, SwappedShardsAreFound) {
  write_bytes(shards_[0], whole_[shards_[1]]);
  write_bytes(shards_[1], whole_[shards_[0]]);
  EXPECT_THAT(problem(), HasSubstr("are not those of its manifest"));
  write_bytes(manifests_[0], whole_[manifests_[1]]);
  write_bytes(manifests_[1], whole_[manifests_[0]]);
  EXPECT_THAT(problem(), HasSubstr("a file was renamed"));
}

TEST_F(CacheDamage, MissingAndExtraFilesAreFound) {
  fs::remove(shards_[0]);
  EXPECT_THAT(problem(), HasSubstr(shards_[0].string() + ": cannot be opened: No such file or directory"));
  write_bytes(shards_[0], whole_[shards_[0]]);

  const fs::path copy = folder_ / "shard-0123456789abcdef.h5";
  fs::copy(shards_[0], copy);
  fs::copy(manifests_[0], manifest_of(copy));
  EXPECT_THAT(problem(), HasSubstr("shard-0123456789abcdef.h5: holds the texts of " + shards_[0].filename().string()));
  fs::remove(manifest_of(copy));
  EXPECT_EQ(problem(), "");  // without a manifest it does not exist

  fs::remove(manifests_[1]);
  const ActivationCache cache(folder_.path(), form_);
  int found = 0;
  EXPECT_EQ(wrong_texts(cache, form_, &found), "");
  EXPECT_EQ(found, 3);  // the others are not found, which is no error here: they can be computed
}

TEST_F(CacheDamage, FilesThatAreNoFilesAreRefused) {
  fs::remove(shards_[0]);
  fs::create_directory(shards_[0]);
  EXPECT_THAT(problem(), HasSubstr(shards_[0].filename().string()));
  fs::remove(shards_[0]);
  ASSERT_EQ(::mkfifo(shards_[0].c_str(), 0600), 0);
  EXPECT_THAT(problem(), HasSubstr(shards_[0].filename().string()));  // and it does not wait for a writer
}

}  // namespace
}  // namespace layalign::data
