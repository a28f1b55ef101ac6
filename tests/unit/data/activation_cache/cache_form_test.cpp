#include "data/activation_cache/cache_form.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "data/activation_cache/form_file.h"
#include "data/error.h"
#include "tests/unit/data/activation_cache/cache_files.h"

namespace layalign::data {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(CacheKeyOf, IsTheHashOfTheIdsAs32Bits) {
  // printf '\x01\0\0\0\x02\0\0\0\x03\0\0\0' | xxhsum -H2
  EXPECT_EQ(to_string(cache_key(std::vector<int64_t>{1, 2, 3})), "a76f94d1118f3bcfe6d1006dda205ce7");
  EXPECT_EQ(cache_key(std::vector<int64_t>{1, 2, 3}), cache_key(std::vector<uint32_t>{1, 2, 3}));
  EXPECT_NE(cache_key(std::vector<int64_t>{1, 2}), cache_key(std::vector<int64_t>{2, 1}));
  EXPECT_NE(cache_key(std::vector<int64_t>{1}), cache_key(std::vector<int64_t>{1, 0}));
  EXPECT_NO_THROW(cache_key(std::vector<int64_t>{4294967295}));
  EXPECT_THROW(cache_key(std::vector<int64_t>{4294967296}), c10::Error);
  EXPECT_THROW(cache_key(std::vector<int64_t>{-1}), c10::Error);
}

TEST(CacheForm, HasTheBytesOfATokenOfMt5Xl) {
  std::vector<int64_t> layers(25);
  for (int64_t i = 0; i < 25; ++i) layers[i] = i;
  EXPECT_EQ(form_of(CacheDtype::kBfloat16, layers, 2048).token_bytes(), 102400);
  EXPECT_EQ(form_of(CacheDtype::kFloat8, layers, 2048).token_bytes(), 25 * 2112);
}

TEST(CacheForm, EachFieldThatDiffersIsNamedWithBothValues) {
  const CacheForm found = form_of();
  const auto message = [&](auto change) {
    CacheForm wanted = found;
    change(wanted);
    return message_of<DataError>([&] { require_same_form(wanted, found, "/some/cache"); });
  };
  EXPECT_THAT(message([](CacheForm& f) { f.encoder_weights = "other"; }),
              AllOf(HasSubstr("/some/cache"),
                    HasSubstr("encoder_weights: " + found.encoder_weights + " in the cache, other wanted"),
                    HasSubstr("layalign-cache build"), Not(HasSubstr("encoder_config"))));
  EXPECT_THAT(message([](CacheForm& f) { f.encoder_config = "other"; }),
              HasSubstr("encoder_config: " + found.encoder_config));
  EXPECT_THAT(message([](CacheForm& f) { f.compute_precision = "bfloat16"; }),
              HasSubstr("compute_precision: float32 in the cache, bfloat16 wanted"));
  EXPECT_THAT(message([](CacheForm& f) { f.dtype = CacheDtype::kFloat8; }),
              HasSubstr("dtype: bfloat16 in the cache, float8 wanted"));
  EXPECT_THAT(message([](CacheForm& f) {
                f.layers = {0, 3};
              }),
              HasSubstr("layers: [0, 2, 3] in the cache, [0, 3] wanted"));
  EXPECT_THAT(message([](CacheForm& f) { f.width = 64; }), HasSubstr("width: 40 in the cache, 64 wanted"));
  EXPECT_EQ(message([](CacheForm& f) { f.tokenizer = "other"; }), "");  // information only
  EXPECT_THAT(message([](CacheForm& f) { f.width = 64, f.encoder_weights = "x"; }),
              AllOf(HasSubstr("encoder_weights"), HasSubstr("width")));
}

TEST(CacheForm, IsWrittenAndReadBack) {
  for (CacheDtype dtype : {CacheDtype::kFloat32, CacheDtype::kBfloat16, CacheDtype::kFloat8}) {
    const TemporaryFolder folder;
    const CacheForm form = form_of(dtype);
    write_form_file(folder.path(), form);
    const CacheForm read = read_form_file(folder.path());
    EXPECT_NO_THROW(require_same_form(form, read, folder.path()));
    EXPECT_EQ(read.tokenizer, form.tokenizer);
  }
}

TEST(CacheForm, AFileThatIsNotStrictlyItIsRefused) {
  const TemporaryFolder folder;
  write_form_file(folder.path(), form_of());
  const auto whole = nlohmann::json::parse(read_bytes(folder / kFormFile));
  const auto message = [&](auto change) {
    auto changed = whole;
    change(changed);
    write_bytes(folder / kFormFile, changed.dump());
    return message_of<DataError>([&] { read_form_file(folder.path()); });
  };
  EXPECT_EQ(message([](auto&) {}), "");
  EXPECT_THAT(message([](auto& json) { json["version"] = 2; }),
              AllOf(HasSubstr("cache.json"), HasSubstr("format version 2, and this program reads version 1")));
  EXPECT_THAT(message([](auto& json) { json["format"] = "x"; }), HasSubstr("'format'"));
  EXPECT_THAT(message([](auto& json) { json["colour"] = 1; }), HasSubstr("unknown field 'colour'"));
  EXPECT_THAT(message([](auto& json) { json.erase("width"); }), HasSubstr("'width' is missing"));
  EXPECT_THAT(message([](auto& json) { json["width"] = -40; }), HasSubstr("'width': expected a whole number"));
  EXPECT_THAT(message([](auto& json) { json["width"] = 40.0; }), HasSubstr("'width': expected a whole number"));
  EXPECT_THAT(message([](auto& json) { json["width"] = 41; }), HasSubstr("'xxh3'"));
  EXPECT_THAT(message([](auto& json) { json["tokenizer"] = "b tokenizer"; }), HasSubstr("'xxh3'"));
  EXPECT_THAT(message([](auto& json) { json["layers"] = {3, 2}; }), HasSubstr("ascending"));
  EXPECT_THAT(message([](auto& json) { json["layers"] = nlohmann::json::array(); }), HasSubstr("0 layers"));
  EXPECT_THAT(message([](auto& json) { json["dtype"] = "float16"; }),
              HasSubstr("expected float32, bfloat16 or float8"));
  EXPECT_THAT(message([](auto& json) { json["compute_precision"] = "int8"; }), HasSubstr("compute_precision"));
  EXPECT_THAT(message([](auto& json) { json = nlohmann::json::array(); }), HasSubstr("expected an object"));
  std::filesystem::remove(folder / kFormFile);
  EXPECT_THAT(message_of<DataError>([&] { read_form_file(folder.path()); }),
              AllOf(HasSubstr("is no activation cache"), HasSubstr("layalign-cache build")));
}

}  // namespace
}  // namespace layalign::data
