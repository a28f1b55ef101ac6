// A file of representations is read by h5py as docs/evaluation.md describes it, and is there whole or not at all.
#include "data/representations_file.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <numeric>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/file_operations.h"
#include "tests/command.h"

namespace layalign::data {
namespace {

namespace fs = std::filesystem;

class RepresentationsFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "layalign-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder = name;
  }
  void TearDown() override { fs::remove_all(folder); }

  /// Writes layers whose values count upwards from 1000 times the layer's place.
  void write(const fs::path& path) const {
    RepresentationsFile file(path, form);
    for (size_t layer = form.layers.size(); layer-- > 0;) {  // in any order
      std::vector<float> values(2 * 3 * form.layers[layer].width);
      std::iota(values.begin(), values.end(), 1000.0F * static_cast<float>(layer));
      file.write(form.layers[layer].name, values);
    }
    file.commit();
  }

  fs::path folder;
  RepresentationsForm form{.languages = {"English", "Thai"},
                           .sentences = {0, 1, 4},
                           .layers = {{"encoder.0", 3}, {"mapped", 70}, {"llm.0", 1}},
                           .notes = {{"mode", "layalign"}, {"weights", "a.safetensors"}}};
};

TEST_F(RepresentationsFileTest, H5pyReadsWhatWasWritten) {
  for (int more = 0; more < 80; ++more) form.layers.push_back({"llm." + std::to_string(more + 1), 2});
  write(folder / "r.h5");
  const auto outcome =
      test::run_command(LAYALIGN_TEST_PYTHON " " LAYALIGN_SOURCE_DIR "/tests/unit/data/read_representations.py " +
                        (folder / "r.h5").string());
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_EQ(outcome.output, "83 layers of English, Thai; sentences 0 1 4; mode layalign; weights a.safetensors\n");
}

TEST_F(RepresentationsFileTest, AFullDiskIsReportedAndNothingIsLeft) {
  checkpoints_tools::set_file_hook({});
  write(folder / "whole.h5");
  const int64_t operations = checkpoints_tools::file_operation_count();
  EXPECT_GT(operations, 6);
  fs::remove(folder / "whole.h5");
  for (int64_t number = 1; number < operations;
       ++number) {  // the last one, of the folder, comes when the file has its name
    checkpoints_tools::set_file_hook(checkpoints_tools::fail_at(number, ENOSPC));
    EXPECT_THROW(write(folder / "r.h5"), checkpoints_tools::IoError) << number;
    EXPECT_TRUE(fs::is_empty(folder)) << number;
  }
  checkpoints_tools::set_file_hook({});
}

}  // namespace
}  // namespace layalign::data
