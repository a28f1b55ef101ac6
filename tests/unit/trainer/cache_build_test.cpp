#include "trainer/cache_build.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/checkpoints_tools/temporary_folder.h"
#include "tests/unit/trainer/scratch_folder.h"
#include "trainer/error.h"

namespace layalign::trainer {
namespace {

using checkpoints_tools::message_of;
using testing::AllOf;
using testing::HasSubstr;

TEST(CheckSpace, RefusesWhatTheDiskHasNoRoomForAndSaysBothFigures) {
  const ScratchFolder folder;
  CachePlan plan;
  plan.file_bytes = int64_t{1} << 20;
  EXPECT_NO_THROW(check_space(plan, folder.path()));
  plan.file_bytes = int64_t{1} << 60;  // an exbibyte
  const auto available = std::filesystem::space(folder.path()).available;
  ASSERT_LT(available, static_cast<uint64_t>(plan.file_bytes));
  EXPECT_THAT(message_of<IoError>([&] { check_space(plan, folder.path()); }),
              AllOf(HasSubstr(folder.path().string()), HasSubstr("1152921504606846976 bytes"), HasSubstr("are free"),
                    HasSubstr("cache.dtype")));
}

TEST(CheckSpace, NamesAFolderWhoseSpaceIsNotKnown) {
  const ScratchFolder folder;
  EXPECT_THAT(message_of<IoError>([&] { check_space(CachePlan(), folder / "missing"); }), HasSubstr("missing"));
}

}  // namespace
}  // namespace layalign::trainer
