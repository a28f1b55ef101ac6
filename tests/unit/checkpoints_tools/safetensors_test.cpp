#include "checkpoints_tools/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <span>

#include "checkpoints_tools/hash.h"
#include "tests/unit/checkpoints_tools/temporary_folder.h"

namespace layalign::checkpoints_tools {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Equal type, shape and bytes: a NaN equals itself and -0 differs from 0.
void expect_identical(const at::Tensor& got, const at::Tensor& expected) {
  ASSERT_EQ(got.scalar_type(), expected.scalar_type());
  ASSERT_EQ(got.sizes(), expected.sizes());
  const at::Tensor dense = expected.contiguous();
  EXPECT_TRUE(got.is_contiguous());
  if (got.numel() == 0) return;
  EXPECT_EQ(std::memcmp(got.const_data_ptr(), dense.const_data_ptr(), dense.nbytes()), 0);
}

class SafetensorsTest : public ::testing::Test {
 protected:
  TemporaryFolder folder_;
  std::filesystem::path path_ = folder_ / "a.safetensors";
};

TEST_F(SafetensorsTest, EveryDtypeSurvivesARoundTrip) {
  using Types = std::vector<std::pair<std::string, at::ScalarType>>;
  const Types types = {{"BOOL", at::kBool},
                       {"U8", at::kByte},
                       {"I8", at::kChar},
                       {"F8_E5M2", at::kFloat8_e5m2},
                       {"F8_E4M3", at::kFloat8_e4m3fn},
                       {"I16", at::kShort},
                       {"U16", at::kUInt16},
                       {"F16", at::kHalf},
                       {"BF16", at::kBFloat16},
                       {"I32", at::kInt},
                       {"U32", at::kUInt32},
                       {"F32", at::kFloat},
                       {"F64", at::kDouble},
                       {"I64", at::kLong},
                       {"U64", at::kUInt64}};
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const auto& [name, type] : types) {
    tensors.emplace_back(name, at::arange(15).remainder(2).reshape({3, 5}).to(type));
  }
  write_safetensors(path_, tensors);
  const SafetensorsFile file(path_);
  ASSERT_EQ(file.tensors().size(), types.size());
  for (const auto& [name, tensor] : tensors) {
    SCOPED_TRACE(name);
    EXPECT_EQ(file.tensors().at(name).dtype, name);
    expect_identical(file.read(name), tensor);
    expect_identical(file.read_slice(name, 1, 1, 4), tensor.narrow(1, 1, 3));
  }
}

TEST_F(SafetensorsTest, ScalarsEmptyTensorsAndStridesSurvive) {
  const at::Tensor matrix = at::arange(12, at::kFloat).reshape({3, 4});
  const std::vector<std::pair<std::string, at::Tensor>> tensors = {{"scalar", at::scalar_tensor(2.5)},
                                                                   {"empty", at::empty({0})},
                                                                   {"empty matrix", at::empty({4, 0, 3}, at::kHalf)},
                                                                   {"transposed", matrix.t()},
                                                                   {"a part", matrix.narrow(1, 1, 2)},
                                                                   {"expanded", at::ones({1, 1}).expand({3, 2})},
                                                                   {"NaN", at::full({2}, std::nan(""))},
                                                                   {"name \"quoted\" \u00e9\n", at::ones({1})}};
  write_safetensors(path_, tensors);
  const SafetensorsFile file(path_);
  ASSERT_EQ(file.tensors().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    SCOPED_TRACE(name);
    expect_identical(file.read(name), tensor);
  }
}

TEST_F(SafetensorsTest, FileWithoutTensorsIsValid) {
  write_safetensors(path_, {});
  EXPECT_TRUE(SafetensorsFile(path_).tensors().empty());
}

TEST_F(SafetensorsTest, SlicesEqualNarrow) {
  const at::Tensor cube = at::arange(4 * 5 * 6, at::kInt).reshape({4, 5, 6});
  write_safetensors(path_, {{"before", at::ones({7}, at::kByte)}, {"cube", cube}, {"vector", at::arange(9)}});
  const SafetensorsFile file(path_);
  for (int64_t dim = 0; dim < 3; ++dim) {
    for (int64_t begin = 0; begin <= cube.size(dim); ++begin) {
      for (int64_t end = begin; end <= cube.size(dim); ++end) {
        expect_identical(file.read_slice("cube", dim, begin, end), cube.narrow(dim, begin, end - begin));
      }
    }
  }
  expect_identical(file.read_slice("vector", 0, 2, 5), at::arange(9).narrow(0, 2, 3));
}

TEST_F(SafetensorsTest, SliceOutsideTheTensorIsRefused) {
  write_safetensors(path_, {{"m", at::ones({4, 6})}, {"s", at::scalar_tensor(1)}});
  const SafetensorsFile file(path_);
  const auto message = [&](const std::string& name, int64_t dim, int64_t begin, int64_t end) {
    return message_of<CheckpointError>([&] { file.read_slice(name, dim, begin, end); });
  };
  EXPECT_THAT(message("m", 0, 2, 5),
              HasSubstr("'m': expected a slice inside its shape [4, 6], got [2, 5) of dimension 0"));
  EXPECT_THAT(message("m", 0, -1, 2), HasSubstr("got [-1, 2)"));
  EXPECT_THAT(message("m", 1, 3, 2), HasSubstr("got [3, 2)"));
  EXPECT_THAT(message("m", 2, 0, 1), HasSubstr("dimension 2"));
  EXPECT_THAT(message("s", 0, 0, 1), HasSubstr("dimension 0"));
  EXPECT_THAT(message("absent", 0, 0, 1), HasSubstr("has no tensor 'absent' among its 2"));
  EXPECT_THAT(message_of<CheckpointError>([&] { file.read("absent"); }), HasSubstr(path_.string()));
}

TEST_F(SafetensorsTest, FileHasTheDocumentedForm) {
  write_safetensors(
      path_, {{"b", at::ones({2}, at::kByte)}, {"z", at::ones({1}, at::kFloat)}, {"a", at::ones({1}, at::kFloat)}});
  const std::string one("\0\0\x80\x3f", 4);
  const std::string data = one + one + "\1\1";
  const std::string checked =
      R"({"__metadata__":{"format":"pt"},"a":{"data_offsets":[0,4],"dtype":"F32","shape":[1]},)"
      R"("b":{"data_offsets":[8,10],"dtype":"U8","shape":[2]},"z":{"data_offsets":[4,8],"dtype":"F32","shape":[1]}})" +
      data;
  std::string header =
      R"({"__metadata__":{"format":"pt","layalign.xxh3":")" + xxh3_hex(std::as_bytes(std::span(checked))) +
      R"("},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
      R"("z":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},"b":{"dtype":"U8","shape":[2],"data_offsets":[8,10]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  EXPECT_EQ(read_bytes(path_), safetensors_bytes(header, 0) + data);
}

TEST_F(SafetensorsTest, EveryFlippedBitIsSeenOrTakesTheChecksumsName) {
  write_safetensors(path_, {{"x", at::arange(4, at::kFloat)}, {"flag", at::ones({3}, at::kByte)}},
                    {{"language_layers", "[0,1]"}});
  const std::string whole = read_bytes(path_);
  EXPECT_TRUE(SafetensorsFile(path_).has_checksum());
  const size_t key = whole.find(kChecksumKey), key_end = key + std::string_view(kChecksumKey).size();
  for (size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string bad = whole;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    write_bytes(path_, bad);
    if (bit / 8 < key || bit / 8 >= key_end) {
      EXPECT_THROW(SafetensorsFile{path_}, CheckpointError) << bit;
      continue;
    }
    try {  // another name: all that the file holds is as it was
      EXPECT_FALSE(SafetensorsFile(path_).has_checksum()) << bit;
    } catch (const CheckpointError&) {
      // no JSON any more
    }
  }
  std::string bad = whole;
  bad.back() ^= 1;
  write_bytes(path_, bad);
  EXPECT_THAT(message_of<CheckpointError>([&] { SafetensorsFile{path_}; }),
              AllOf(HasSubstr(path_.string() + ": damaged: its content has the XXH3-128 "), HasSubstr("copy it again"),
                    HasSubstr("without 'layalign.xxh3'")));
}

TEST_F(SafetensorsTest, TheChecksumIsOfTheContentAndNotOfItsSpelling) {
  write_safetensors(path_, {{"x", at::arange(4, at::kFloat)}});
  const std::string whole = read_bytes(path_);
  const size_t data = whole.size() - 16;
  const std::string header = whole.substr(8, data - 8);
  write_bytes(path_, safetensors_bytes(" {  " + header.substr(1) + "\n", 0) + whole.substr(data));
  const SafetensorsFile file(path_);
  EXPECT_TRUE(file.has_checksum());
  expect_identical(file.read("x"), at::arange(4, at::kFloat));
}

TEST_F(SafetensorsTest, FilesOfOthersHaveNoChecksum) {
  write_bytes(path_, safetensors_bytes(
                         R"({"__metadata__":{"xxh3":"mine"},"m":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", 3));
  const SafetensorsFile file(path_);
  EXPECT_FALSE(file.has_checksum());
  EXPECT_EQ(file.read("m").numel(), 3);
}

TEST_F(SafetensorsTest, MetadataSurvivesAndSaysItsFormat) {
  write_safetensors(path_, {}, {{"step", "200"}, {"note", "a \"b\"\n\u4e2d"}});
  using Strings = std::map<std::string, std::string>;
  const auto without_checksum = [&] {
    Strings strings = SafetensorsFile(path_).metadata();
    EXPECT_EQ(strings.erase(kChecksumKey), 1U);
    return strings;
  };
  EXPECT_EQ(without_checksum(), (Strings{{"format", "pt"}, {"note", "a \"b\"\n\u4e2d"}, {"step", "200"}}));
  // Metadata of another file bring their checksum with them: the one of this file takes its place.
  write_safetensors(path_, {}, {{"format", "layalign"}, {kChecksumKey, "0"}});
  EXPECT_EQ(without_checksum(), (Strings{{"format", "layalign"}}));
}

TEST_F(SafetensorsTest, UnwritableTensorsAreRefusedAndLeaveNothing) {
  const auto message = [&](const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
    return message_of<CheckpointError>([&] { write_safetensors(path_, tensors); });
  };
  EXPECT_THAT(message({{"a", at::ones({1})}, {"a", at::ones({1})}}), HasSubstr("'a': the name is given twice"));
  EXPECT_THAT(message({{"__metadata__", at::ones({1})}}), HasSubstr("reserves the name"));
  EXPECT_THAT(message({{"a", at::Tensor()}}), HasSubstr("expected a dense tensor"));
  EXPECT_THAT(message({{"a", at::ones({2, 2}).to_sparse()}}), HasSubstr("expected a dense tensor"));
  EXPECT_THAT(message({{"a", at::ones({1}, at::kComplexFloat)}}), HasSubstr("dtype ComplexFloat is not supported"));
  EXPECT_THAT(message({{"\xff", at::ones({1})}}), HasSubstr("not valid UTF-8"));
  EXPECT_TRUE(folder_.empty());
}

TEST_F(SafetensorsTest, BoolWithOtherBytesIsRefused) {
  std::string bytes = safetensors_bytes(R"({"m":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}})", 3);
  bytes.back() = 2;
  write_bytes(path_, bytes);
  const SafetensorsFile file(path_);
  EXPECT_THAT(message_of<CheckpointError>([&] { file.read("m"); }), HasSubstr("element 2 of this BOOL tensor is 2"));
  EXPECT_EQ(file.read_slice("m", 0, 0, 2).numel(), 2);
}

TEST_F(SafetensorsTest, OpenFileKeepsItsContentWhenItIsReplaced) {
  write_safetensors(path_, {{"a", at::full({1000}, 1.0)}});
  const SafetensorsFile old(path_);
  write_safetensors(path_, {{"a", at::full({5}, 2.0)}});
  expect_identical(old.read("a"), at::full({1000}, 1.0));
  expect_identical(SafetensorsFile(path_).read("a"), at::full({5}, 2.0));
}

TEST_F(SafetensorsTest, MovedFileStillReads) {
  write_safetensors(path_, {{"a", at::arange(4)}});
  SafetensorsFile first(path_);
  std::vector<SafetensorsFile> files;
  files.push_back(std::move(first));
  files.emplace_back(path_);
  expect_identical(files[0].read("a"), at::arange(4));
  EXPECT_THAT(files[0].read("a").sizes().vec(), ElementsAre(4));
}

}  // namespace
}  // namespace layalign::checkpoints_tools
