#include "checkpoints_tools/verification.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "checkpoints_tools/hash.h"
#include "checkpoints_tools/safetensors.h"
#include "tests/unit/checkpoints_tools/temporary_folder.h"

namespace layalign::checkpoints_tools {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// A folder with weights, a text and a manifest of both.
struct Checkpoint {
  TemporaryFolder folder;

  explicit Checkpoint(const at::Tensor& values = at::arange(4, at::kFloat)) {
    write_safetensors(folder / "weights.safetensors", {{"x", values}});
    write_bytes(folder / "state.json", "{}\n");
    write_manifest({"weights.safetensors", "state.json"});
  }
  void write_manifest(const std::vector<std::string>& names) const {
    nlohmann::json files;
    for (const std::string& name : names) {
      Xxh3 hash;
      hash.update(read_bytes(folder / name));
      files[name] = {{"bytes", read_bytes(folder / name).size()}, {"xxh3", hash.hex()}};
    }
    write_bytes(folder / "manifest.json", nlohmann::json{{"files", files}}.dump());
  }
  std::vector<std::string> problems() const { return manifest_problems(folder.path()); }
};

TEST(Verification, AWholeFolderHasNoProblems) { EXPECT_THAT(Checkpoint().problems(), IsEmpty()); }

TEST(Verification, EveryFlippedBitIsFound) {
  const Checkpoint checkpoint;
  for (const char* name : {"weights.safetensors", "state.json"}) {
    const std::string whole = read_bytes(checkpoint.folder / name);
    for (size_t bit = 0; bit < 8 * whole.size(); ++bit) {
      std::string bad = whole;
      bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
      write_bytes(checkpoint.folder / name, bad);
      EXPECT_THAT(checkpoint.problems(), ElementsAre(AllOf(HasSubstr(name), HasSubstr("XXH3-128")))) << bit;
    }
    write_bytes(checkpoint.folder / name, whole);
  }
}

TEST(Verification, EveryTruncationIsFoundAndNamed) {
  const Checkpoint checkpoint;
  const std::string whole = read_bytes(checkpoint.folder / "weights.safetensors");
  for (size_t size = 0; size < whole.size(); ++size) {
    write_bytes(checkpoint.folder / "weights.safetensors", whole.substr(0, size));
    EXPECT_THAT(checkpoint.problems(), ElementsAre(AllOf(HasSubstr("weights.safetensors"), HasSubstr("truncated"))));
  }
  write_bytes(checkpoint.folder / "weights.safetensors", whole + "x");
  EXPECT_THAT(checkpoint.problems(), ElementsAre(HasSubstr("has " + std::to_string(whole.size() + 1) + " bytes")));
}

TEST(Verification, AllThatIsWrongIsNamedAtOnce) {
  const Checkpoint checkpoint;
  std::filesystem::remove(checkpoint.folder / "weights.safetensors");
  write_bytes(checkpoint.folder / "state.json", "[]\n");
  write_bytes(checkpoint.folder / "notes.txt", "mine");
  EXPECT_THAT(checkpoint.problems(), ElementsAre(AllOf(HasSubstr("state.json"), HasSubstr("damaged")),
                                                 AllOf(HasSubstr("weights.safetensors"), HasSubstr("missing")),
                                                 AllOf(HasSubstr("notes.txt"), HasSubstr("not listed"))));
}

TEST(Verification, ABrokenManifestIsNamed) {
  const Checkpoint checkpoint;
  for (const char* text : {"", "{", "[]", "{}", R"({"files": {}})", R"({"files": 1})"}) {
    write_bytes(checkpoint.folder / "manifest.json", text);
    EXPECT_THAT(checkpoint.problems(), ElementsAre(HasSubstr("manifest.json"))) << text;
  }
  write_bytes(checkpoint.folder / "manifest.json", R"({"files": {"state.json": 3, "weights.safetensors": {}}})");
  EXPECT_THAT(checkpoint.problems(),
              ElementsAre(HasSubstr("'state.json' lacks"), HasSubstr("'weights.safetensors' lacks")));
  write_bytes(checkpoint.folder / "manifest.json", R"({"files": {"../state.json": {"bytes": 3, "xxh3": ""}}})");
  EXPECT_THAT(checkpoint.problems()[0], HasSubstr("'../state.json' is not the name of a file in the folder"));
  std::filesystem::remove(checkpoint.folder / "manifest.json");
  EXPECT_THAT(checkpoint.problems(), ElementsAre(HasSubstr("cannot read")));
}

TEST(Verification, AFlippedBitOfAFileWithoutManifestIsFound) {
  const TemporaryFolder folder;
  const auto path = folder / "weights.safetensors";
  write_safetensors(path, {{"x", at::arange(4, at::kFloat)}});
  EXPECT_THAT(weights_problems(path), IsEmpty());
  std::string bytes = read_bytes(path);
  bytes[bytes.size() - 3] ^= 1;  // still a number
  write_bytes(path, bytes);
  EXPECT_THAT(weights_problems(path), ElementsAre(AllOf(HasSubstr(path.string()), HasSubstr("damaged"))));
}

TEST(Verification, NotANumberAndInfinityAreFoundInAllTypes) {
  for (const auto type : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble, at::kFloat8_e5m2}) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
      const Checkpoint checkpoint(at::tensor({1.0F, bad, 2.0F, bad}).to(type));
      EXPECT_THAT(checkpoint.problems(),
                  ElementsAre(AllOf(HasSubstr("'x'"), HasSubstr("2 of 4"), HasSubstr("element 1"))))
          << type;
    }
  }
  EXPECT_THAT(weights_problems("/no/such/file"), ElementsAre(HasSubstr("/no/such/file")));
}

}  // namespace
}  // namespace layalign::checkpoints_tools
