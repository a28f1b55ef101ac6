// HDF5 files that a manifest vouches for and that are not what this program writes: refused before anything of them is
// used.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#define H5_USE_110_API
#include <hdf5.h>

#include <array>
#include <functional>

#include "checkpoints_tools/hash.h"
#include "data/activation_cache/shard_layout.h"
#include "data/error.h"
#include "tests/fault/fault_cache.h"

namespace layalign::data {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

/// How a file is to differ from what this program writes.
struct Change {
  std::string name = {};                 ///< of the dataset
  hid_t type = -1;                       ///< another type
  std::vector<hsize_t> shape = {};       ///< another shape
  std::function<void(hid_t)> form = {};  ///< other creation properties
  std::function<void(hid_t)> file = {};  ///< what else is done to the file
  std::string without_attribute = {};
};

class ForeignShards : public testing::Test {
 protected:
  ForeignShards() { ActivationCache::create(folder_.path(), form_); }

  void add(hid_t file, const Change& change, const std::string& name, hid_t type, std::vector<hsize_t> shape,
           const void* values) {
    if (change.name == name && change.type >= 0) type = change.type;
    if (change.name == name && !change.shape.empty()) shape = change.shape;
    std::vector<hsize_t> most = shape;
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_layout(properties, H5D_CONTIGUOUS);
    H5Pset_alloc_time(properties, H5D_ALLOC_TIME_EARLY);
    if (change.name == name && change.form) change.form(properties);
    if (H5Pget_layout(properties) == H5D_CHUNKED) most[0] = H5S_UNLIMITED;
    const hid_t space = H5Screate_simple(static_cast<int>(shape.size()), shape.data(), most.data());
    const hid_t dataset = H5Dcreate2(file, name.c_str(), type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    ASSERT_GE(dataset, 0) << name;
    if (values && change.shape.empty()) H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    if (name == "states") states_offset_ = H5Dget_offset(dataset);
    H5Dclose(dataset);
    H5Sclose(space);
    H5Pclose(properties);
  }

  void add_attribute(hid_t file, const Change& change, const std::string& name, hid_t type, hsize_t count,
                     const void* value) {
    if (name == change.without_attribute) return;
    const hid_t space = count == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &count, nullptr);
    const hid_t attribute = H5Acreate2(file, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(attribute, type, value);
    H5Aclose(attribute);
    H5Sclose(space);
  }

  void add_text(hid_t file, const Change& change, const std::string& name, const std::string& text) {
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, text.size());
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    add_attribute(file, change, name, type, 0, text.data());
    H5Tclose(type);
  }

  /// Writes a shard of one text with HDF5 alone, in the newest format, and a manifest that fits it.
  void plant(const Change& change) {
    const std::vector<int64_t> ids = {5, 6};
    const CacheKey key = cache_key(ids);
    const fs::path path = folder_ / (shard_name({&key, 1}) + ".h5");
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
    H5Pset_alignment(access, 480, 4096);
    H5Pset_meta_block_size(access, 16384);  // all headers before the states
    const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
    add_text(file, change, "format", "layalign activation cache shard");
    add_text(file, change, "encoder_weights", form_.encoder_weights);
    add_text(file, change, "encoder_config", form_.encoder_config);
    add_text(file, change, "compute_precision", form_.compute_precision);
    add_text(file, change, "dtype", "bfloat16");
    add_text(file, change, "tokenizer", form_.tokenizer);
    const int64_t version = 1;
    add_attribute(file, change, "version", H5T_STD_I64LE, 0, &version);
    add_attribute(file, change, "width", H5T_STD_I64LE, 0, &form_.width);
    add_attribute(file, change, "layers", H5T_STD_I64LE, form_.layers.size(), form_.layers.data());

    const auto rows = rows_of(ids, form_);
    std::array<uint64_t, 3> hashes{};
    for (int64_t i = 0; i < 3; ++i) {
      hashes[i] =
          checkpoints_tools::xxh3_64({static_cast<const std::byte*>(rows[i].const_data_ptr()), rows[i].nbytes()});
    }
    const std::array<uint64_t, 2> words = {key.high, key.low}, offsets = {0, 2};
    const std::array<uint32_t, 2> tokens = {5, 6};
    add(file, change, "keys", H5T_STD_U64LE, {1, 2}, words.data());
    add(file, change, "token_offsets", H5T_STD_U64LE, {2}, offsets.data());
    add(file, change, "token_ids", H5T_STD_U32LE, {2}, tokens.data());
    add(file, change, "hashes", H5T_STD_U64LE, {1, 3}, hashes.data());
    if (change.file) change.file(file);
    if (H5Lexists(file, "states", H5P_DEFAULT) <= 0)
      add(file, change, "states", H5T_STD_U16LE, {240}, rows.const_data_ptr());
    H5Fclose(file);
    H5Pclose(access);

    const std::string bytes = read_bytes(path);
    const bool placed = states_offset_ != HADDR_UNDEF && states_offset_ < bytes.size();
    const std::string front = bytes.substr(0, placed ? states_offset_ : bytes.size() / 2);
    write_manifest(manifest_of(path), {.file_bytes = static_cast<int64_t>(bytes.size()),
                                       .front_bytes = static_cast<int64_t>(front.size()),
                                       .front_xxh3 = checkpoints_tools::xxh3_hex(std::as_bytes(std::span(front))),
                                       .texts = 1,
                                       .tokens = 2});
    path_ = path;
  }

  void expect_refused(const Change& change, const std::string& why) {
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    plant(change);
    EXPECT_THAT(message_of<DataError>([&] { ActivationCache(folder_.path(), form_); }),
                AllOf(HasSubstr(path_.string()), HasSubstr(why), HasSubstr("layalign-cache build")));
  }

  const CacheForm form_ = fault_form();
  const TemporaryFolder folder_;
  fs::path path_;
  haddr_t states_offset_ = HADDR_UNDEF;
};

TEST_F(ForeignShards, WhatFollowsTheFormatIsRead) {
  plant({});
  const ActivationCache cache(folder_.path(), form_);
  EXPECT_TRUE(same_bytes(read_text(*cache.find(cache_key(std::vector<int64_t>{5, 6})), form_), rows_of({5, 6}, form_)));
}

TEST_F(ForeignShards, OtherLayoutsAreRefused) {
  const auto chunked = [](hid_t properties) {
    const hsize_t chunk = 60;
    H5Pset_chunk(properties, 1, &chunk);
  };
  expect_refused({.name = "states", .form = chunked}, "states is not contiguous");
  expect_refused({.name = "states",
                  .form =
                      [&](hid_t properties) {
                        chunked(properties);
                        H5Pset_deflate(properties, 1);
                      }},
                 "states is not contiguous");
  expect_refused({.name = "token_ids", .form = [](hid_t properties) { H5Pset_layout(properties, H5D_COMPACT); }},
                 "token_ids is not contiguous");
  const fs::path secret = write_bytes(folder_ / "secret", std::string(480, 's'));
  expect_refused({.name = "states",
                  .form =
                      [&](hid_t properties) {
                        H5Pset_alloc_time(properties, H5D_ALLOC_TIME_LATE);
                        H5Pset_external(properties, secret.c_str(), 0, 480);
                      }},
                 "states lies in external files");
}

TEST_F(ForeignShards, LinksAndGroupsAreRefused) {
  const std::string why = " is a soft or external link";
  expect_refused({.file = [](hid_t file) { H5Lcreate_soft("/keys", file, "alias", H5P_DEFAULT, H5P_DEFAULT); }},
                 "alias" + why);
  expect_refused(
      {.file = [](hid_t file) { H5Lcreate_external("other.h5", "/x", file, "alias", H5P_DEFAULT, H5P_DEFAULT); }},
      "alias" + why);
  expect_refused(
      {.file = [](hid_t file) { H5Gclose(H5Gcreate2(file, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)); }},
      "group is not a dataset");
  expect_refused({.file = [](hid_t file) { H5Lcreate_hard(file, "keys", file, "more", H5P_DEFAULT, H5P_DEFAULT); }},
                 "holds 6 datasets, expected 5");
}

TEST_F(ForeignShards, OtherTypesAndShapesAreRefused) {
  expect_refused({.name = "states", .type = H5T_STD_U16BE}, "states has a type that is not");
  expect_refused({.name = "states", .type = H5T_STD_I16LE}, "states has a type that is not");
  expect_refused({.name = "states", .type = H5T_STD_U8LE}, "the dataset 'states' has another type or shape");
  expect_refused({.name = "keys", .type = H5T_STD_U32LE}, "the dataset 'keys' has another type or shape");
  expect_refused({.name = "states", .shape = {241}}, "the dataset 'states' has another type or shape");
  expect_refused({.name = "hashes", .shape = {3, 1}}, "the dataset 'hashes' has another type or shape");
  expect_refused({.name = "keys", .shape = {1, 1, 2}}, "keys is not a vector or matrix");
}

TEST_F(ForeignShards, OtherAttributesAreRefused) {
  expect_refused({.without_attribute = "layers"}, "the attribute 'layers' is missing");
  expect_refused({.without_attribute = "format"}, "the attribute 'format' is missing");
  const auto replace = [](const char* name, hid_t type, const void* value) {
    return [=](hid_t file) {
      H5Adelete(file, name);
      const hid_t space = H5Screate(H5S_SCALAR);
      const hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
      H5Awrite(attribute, type, value);
      H5Aclose(attribute);
      H5Sclose(space);
    };
  };
  const int64_t two = 2;
  expect_refused({.file = replace("version", H5T_STD_I64LE, &two)},
                 "format version 2, and this program reads version 1");
  expect_refused({.file = replace("width", H5T_STD_I32LE, &two)}, "attribute width is neither int64 nor a text");
  expect_refused({.file = replace("dtype", H5T_STD_I64LE, &two)}, "the attribute 'dtype' has another type");
  const hid_t variable = H5Tcopy(H5T_C_S1);
  H5Tset_size(variable, H5T_VARIABLE);
  const char* text = "bfloat16";
  expect_refused({.file = replace("dtype", variable, &text)},
                 "attribute dtype is neither int64 nor a text of fixed length");
  H5Tclose(variable);
}

TEST_F(ForeignShards, AFileThatIsNotHdf5IsRefusedThoughItsManifestFits) {
  plant({});
  write_bytes(path_, "x" + read_bytes(path_).substr(1));
  const std::string front = read_bytes(path_).substr(0, states_offset_);
  auto manifest = read_manifest(manifest_of(path_));
  manifest.front_xxh3 = checkpoints_tools::xxh3_hex(std::as_bytes(std::span(front)));
  write_manifest(manifest_of(path_), manifest);
  EXPECT_THAT(
      message_of<DataError>([&] { ActivationCache(folder_.path(), form_); }),
      AllOf(HasSubstr(path_.string()), HasSubstr("HDF5 cannot open the file"), HasSubstr("layalign-cache build")));
}

}  // namespace
}  // namespace layalign::data
