// Another program reads what FORMAT.md describes: read_cache.py knows that document and h5py.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/unit/data/activation_cache/cache_files.h"

namespace layalign::data {
namespace {

TEST(Format, ShardsAreReadWithH5pyByTheDocumentAlone) {
  for (CacheDtype dtype : {CacheDtype::kFloat32, CacheDtype::kBfloat16, CacheDtype::kFloat8}) {
    const TemporaryFolder folder, out;
    const CacheForm form = form_of(dtype, {0, 3, 4, 9}, 45);
    ActivationCache::create(folder.path(), form);
    const std::vector<Texts> shards = {texts_of(7, 1), texts_of(4, 2)};
    for (const Texts& texts : shards) add_shard(folder.path(), form, texts);

    const std::string command = std::string(LAYALIGN_TEST_PYTHON) +
                                " " LAYALIGN_SOURCE_DIR "/tests/unit/data/activation_cache/read_cache.py " +
                                folder.path().string() + " " + out.path().string();
    ASSERT_EQ(std::system(command.c_str()), 0) << command;

    size_t files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(out.path())) files += entry.is_regular_file();
    EXPECT_EQ(files, 2u * 11);
    for (const Texts& texts : shards) {
      for (const auto& ids : texts) {
        const std::string key = to_string(cache_key(ids));
        const auto stored_ids = at::tensor(ids, at::kInt);
        const auto states = decode_rows(rows_of(ids, form), dtype, form.width, at::kFloat).contiguous();
        for (const auto& [name, expected] : {std::pair{key + ".ids", stored_ids}, {key + ".states", states}}) {
          const std::string bytes = read_bytes(out / name);
          ASSERT_EQ(bytes.size(), expected.nbytes()) << name;
          EXPECT_EQ(std::memcmp(bytes.data(), expected.const_data_ptr(), bytes.size()), 0)
              << name_of(dtype) << " " << name;
        }
      }
    }
  }
}

}  // namespace
}  // namespace layalign::data
