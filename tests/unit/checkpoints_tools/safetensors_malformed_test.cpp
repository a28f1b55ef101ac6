#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>

#include "checkpoints_tools/safetensors.h"
#include "tests/unit/checkpoints_tools/temporary_folder.h"

namespace layalign::checkpoints_tools {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Malformed {
  const char* name;
  std::string bytes;
  const char* reason;  // must be in the message
};

/// A file of one tensor 't' with those fields and `data_bytes` of data.
std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets, size_t data_bytes) {
  return safetensors_bytes(
      R"({"t":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}", data_bytes);
}

/// A file of two U8 tensors at those offsets.
std::string two(const std::string& a, size_t a_size, const std::string& b, size_t b_size, size_t data_bytes) {
  return safetensors_bytes(R"({"a":{"dtype":"U8","shape":[)" + std::to_string(a_size) + R"(],"data_offsets":)" + a +
                               R"(},"b":{"dtype":"U8","shape":[)" + std::to_string(b_size) + R"(],"data_offsets":)" +
                               b + "}}",
                           data_bytes);
}

/// The shape [1, 1, ..., 1].
std::string ones(size_t dimensions) {
  std::string shape = "[1";
  for (size_t i = 1; i < dimensions; ++i) shape += ",1";
  return shape + "]";
}

/// `text` behind a length field that claims `length` bytes.
std::string claiming(uint64_t length, const std::string& text) {
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(length >> (8 * i) & 0xff);
  return bytes + text;
}

std::vector<Malformed> malformed_files() {
  const std::string entry = R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  return {
      // the length field
      {"empty file", "", "is empty"},
      {"shorter than the length field", "abc",
       "is truncated: a safetensors file begins with 8 bytes of length, the file has 3"},
      {"length 100 MB + 1", claiming(100'000'001, "{}"), "length at byte 0 is 100000001, above the format's limit"},
      {"length -1", claiming(UINT64_MAX, "{}"), "above the format's limit"},
      {"length whose sum with 8 wraps", claiming(UINT64_MAX - 7, "{}"), "above the format's limit"},
      {"header cut", claiming(60, "{}"), "is truncated: the header needs 68 bytes, the file has 10"},
      {"no header", claiming(0, ""), "does not begin with '{'"},
      {"no header but data", claiming(0, "{}"), "does not begin with '{'"},
      // the text of the header
      {"only spaces", safetensors_bytes("    ", 0), "does not begin with '{'"},
      {"an array", safetensors_bytes("[]", 0), "does not begin with '{'"},
      {"byte order mark", safetensors_bytes("\xef\xbb\xbf{}", 0), "does not begin with '{'"},
      {"unclosed", safetensors_bytes("{", 0), "not valid JSON at byte 9"},
      {"text after the object", safetensors_bytes("{}x", 0), "not valid JSON at byte 10"},
      {"two objects", safetensors_bytes("{}{}", 0), "not valid JSON at byte 10"},
      {"NUL padding", safetensors_bytes(std::string("{}\0\0", 4), 0), "holds a NUL at byte 10"},
      {"comment", safetensors_bytes("{}//", 0), "not valid JSON"},
      {"trailing comma", safetensors_bytes(R"({"t":)" + entry + ",}", 1), "not valid JSON"},
      {"not UTF-8 in a name", safetensors_bytes("{\"\xff\":" + entry + "}", 1), "ill-formed UTF-8"},
      {"overlong UTF-8", safetensors_bytes("{\"\xc0\x80\":" + entry + "}", 1), "ill-formed UTF-8"},
      {"not UTF-8 outside strings", safetensors_bytes("{}\xff", 0), "not valid JSON"},
      {"lone surrogate", safetensors_bytes(R"({"\ud800":)" + entry + "}", 1), "not valid JSON"},
      // the fields
      {"tensor twice", safetensors_bytes(R"({"t":)" + entry + R"(,"t":)" + entry + "}", 1), "names 't' twice"},
      {"tensor twice, once escaped", safetensors_bytes(R"({"t":)" + entry + R"(,"\u0074":)" + entry + "}", 1),
       "names 't' twice"},
      {"metadata twice", safetensors_bytes(R"({"__metadata__":{},"__metadata__":{}})", 0),
       "names '__metadata__' twice"},
      {"metadata key twice", safetensors_bytes(R"({"__metadata__":{"a":"1","a":"2"}})", 0),
       "__metadata__ has 'a' twice"},
      {"metadata number", safetensors_bytes(R"({"__metadata__":{"a":1}})", 0),
       "gives 'a' as a number, expected a string"},
      {"metadata nested", safetensors_bytes(R"({"__metadata__":{"a":{}}})", 0),
       "gives 'a' as an object, expected a string"},
      {"metadata null", safetensors_bytes(R"({"__metadata__":null})", 0),
       "gives '__metadata__' as null, expected an object"},
      {"tensor is a number", safetensors_bytes(R"({"t":1})", 0), "gives 't' as a number, expected an object"},
      {"tensor is an array", safetensors_bytes(R"({"t":["U8",[1],[0,1]]})", 1),
       "gives 't' as an array, expected an object"},
      {"dtype twice", safetensors_bytes(R"({"t":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1),
       "'dtype' is given twice"},
      {"shape twice", safetensors_bytes(R"({"t":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}})", 1),
       "'shape' is given twice"},
      {"offsets twice",
       safetensors_bytes(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"data_offsets":[0,1]}})", 1),
       "'data_offsets' is given twice"},
      {"unknown field", safetensors_bytes(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"strides":[1]}})", 1),
       "unknown field 'strides'"},
      {"no dtype", safetensors_bytes(R"({"t":{"shape":[1],"data_offsets":[0,1]}})", 1), "the field dtype is missing"},
      {"no shape", safetensors_bytes(R"({"t":{"dtype":"U8","data_offsets":[0,1]}})", 1), "the field shape is missing"},
      {"no offsets", safetensors_bytes(R"({"t":{"dtype":"U8","shape":[1]}})", 1), "the field data_offsets is missing"},
      {"no field", safetensors_bytes(R"({"t":{}})", 0), "is missing"},
      {"unknown dtype", one("F31", "[1]", "[0,1]", 1), "dtype 'F31' is unknown"},
      {"lower-case dtype", one("u8", "[1]", "[0,1]", 1), "dtype 'u8' is unknown"},
      {"sub-byte dtype", one("F4", "[2]", "[0,1]", 1), "dtype 'F4' is not supported here"},
      {"dtype is a number", safetensors_bytes(R"({"t":{"dtype":1,"shape":[1],"data_offsets":[0,1]}})", 1),
       "'dtype' is a number"},
      {"shape is a number", one("U8", "1", "[0,1]", 1), "'shape' is a number"},
      {"shape is an object", one("U8", "{}", "[0,1]", 1), "'shape' is an object"},
      {"shape nested", one("U8", "[[1]]", "[0,1]", 1), "'shape' holds an array"},
      {"shape negative", one("U8", "[-1]", "[0,1]", 1), "'shape' holds a negative number"},
      {"shape -0", one("U8", "[-0]", "[0,0]", 0), "'shape' holds a negative number"},
      {"shape fraction", one("U8", "[1.0]", "[0,1]", 1), "'shape' holds a number that is no integer"},
      {"shape string", one("U8", "[\"1\"]", "[0,1]", 1), "'shape' holds a string"},
      {"shape null", one("U8", "[null]", "[0,1]", 1), "'shape' holds null"},
      {"shape true", one("U8", "[true]", "[0,1]", 1), "'shape' holds true or false"},
      {"number above doubles", one("U8", "[" + std::string(400, '9') + "]", "[0,1]", 1),
       "(number overflow parsing '999"},
      {"leading zero", one("U8", "[01]", "[0,1]", 1), "not valid JSON"},
      {"65 dimensions", one("U8", ones(65), "[0,1]", 1), "more than 64 dimensions"},
      // offsets against shape and file
      {"one offset", one("U8", "[1]", "[0]", 1), "data_offsets has one number"},
      {"no offset", one("U8", "[1]", "[]", 1), "data_offsets has"},
      {"three offsets", one("U8", "[1]", "[0,1,1]", 1), "more than two numbers"},
      {"offsets backwards", one("U8", "[1]", "[1,0]", 1), "end before they begin"},
      {"offset of 2^64", one("U8", "[1]", "[0,18446744073709551616]", 1), "no integer of 64 bits"},
      {"span below the shape", one("F32", "[2]", "[0,4]", 4), "data_offsets span 4 bytes, shape and dtype need 8"},
      {"span above the shape", one("F32", "[2]", "[0,12]", 12), "data_offsets span 12 bytes, shape and dtype need 8"},
      {"span of a scalar", one("F32", "[]", "[0,0]", 0), "data_offsets span 0 bytes, shape and dtype need 4"},
      {"dimension above 63 bits", one("U8", "[9223372036854775808]", "[0,1]", 1),
       "dimension 9223372036854775808 overflows"},
      {"elements overflow", one("U8", "[4294967296,4294967296]", "[0,0]", 0), "overflows 63 bits"},
      {"elements wrap to the span", one("U8", "[4294967296,4294967296,4294967296]", "[0,0]", 0), "overflows 63 bits"},
      {"bytes overflow", one("F64", "[2305843009213693952]", "[0,0]", 0), "overflows 63 bits"},
      {"bytes wrap to a small span", one("F32", "[4611686018427387905]", "[0,4]", 4), "overflows 63 bits"},
      {"empty tensor with strides that overflow", one("U8", "[0,4611686018427387904,4]", "[0,0]", 0),
       "overflows 63 bits"},
      {"data cut by a byte", one("F32", "[2]", "[0,8]", 7),
       "is truncated: the header promises tensor 't' up to byte 8 after the header, the file has 7"},
      {"no data", one("F32", "[2]", "[0,8]", 0), "is truncated"},
      {"trailing byte", one("F32", "[2]", "[0,8]", 9), "has 1 trailing bytes"},
      {"data without tensors", safetensors_bytes("{}", 4), "has 4 trailing bytes"},
      {"hole at the start", one("U8", "[1]", "[1,2]", 2), "a hole before it"},
      {"hole between", two("[0,1]", 1, "[2,3]", 1, 3), "tensor 'b' begins at byte"},
      {"overlap", two("[0,2]", 2, "[1,3]", 2, 4), "it overlaps another tensor"},
      {"one span twice", two("[0,2]", 2, "[0,2]", 2, 2), "overlaps other tensors"},
      {"inside another", two("[0,3]", 3, "[1,2]", 1, 4), "it overlaps another tensor"},
      {"empty tensor behind the end", two("[0,2]", 2, "[3,3]", 0, 3), "a hole before it"},
      {"zip behind the tensors", one("U8", "[1]", "[0,1]", 1) + "PK\3\4", "has 4 trailing bytes"},
  };
}

TEST(SafetensorsMalformed, EachIsRefusedForItsReason) {
  const TemporaryFolder folder;
  for (const Malformed& file : malformed_files()) {
    SCOPED_TRACE(file.name);
    const auto path = write_bytes(folder / "bad.safetensors", file.bytes);
    EXPECT_THAT(message_of<CheckpointError>([&] { SafetensorsFile{path}; }),
                AllOf(StartsWith(path.string() + ": "), HasSubstr(file.reason)));
  }
}

TEST(SafetensorsMalformed, UnusualButValidFilesAreRead) {
  const TemporaryFolder folder;
  const std::string entry = R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  const std::vector<std::pair<const char*, std::string>> files = {
      {"minimal", safetensors_bytes("{}", 0)},
      {"leading white space", safetensors_bytes(" \n\t\r{\"t\":" + entry + "}", 1)},
      {"trailing white space", safetensors_bytes("{\"t\":" + entry + "} \n\t\r", 1)},
      {"unaligned header", safetensors_bytes("{ \"t\":" + entry + "}", 1)},
      {"tensors in any order", two("[2,3]", 1, "[0,2]", 2, 3)},
      {"empty tensors at one place", two("[0,0]", 0, "[0,0]", 0, 0)},
      {"empty tensor in the middle", two("[0,2]", 2, "[0,0]", 0, 2)},
      {"metadata last", safetensors_bytes("{\"t\":" + entry + R"(,"__metadata__":{"a":"b"}})", 1)},
      {"empty name", safetensors_bytes("{\"\":" + entry + "}", 1)},
      {"64 dimensions", one("U8", ones(64), "[0,1]", 1)},
  };
  for (const auto& [name, bytes] : files) {
    SCOPED_TRACE(name);
    const SafetensorsFile file(write_bytes(folder / "good.safetensors", bytes));
    for (const auto& [tensor, info] : file.tensors()) EXPECT_EQ(file.read(tensor).sizes().vec(), info.shape);
  }
}

TEST(SafetensorsMalformed, EveryTruncationIsRefused) {
  const TemporaryFolder folder;
  const std::string whole = two("[0,5]", 5, "[5,9]", 4, 9);
  for (size_t size = 0; size < whole.size(); ++size) {
    const auto path = write_bytes(folder / "cut.safetensors", whole.substr(0, size));
    EXPECT_THROW(SafetensorsFile{path}, CheckpointError) << size;
  }
}

TEST(SafetensorsMalformed, OnlyRegularFilesAreOpened) {
  const TemporaryFolder folder;
  const auto message = [](const std::filesystem::path& path) {
    return message_of<CheckpointError>([&] { SafetensorsFile{path}; });
  };
  EXPECT_THAT(message(folder / "absent"), HasSubstr("cannot open it: No such file or directory"));
  EXPECT_THAT(message(folder.path()), HasSubstr("is a folder"));
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(message(folder / "pipe"), HasSubstr("is not a regular file"));
  EXPECT_THAT(message("/dev/null"), HasSubstr("is not a regular file"));
}

TEST(SafetensorsMalformed, HostileTextInMessagesIsCutAndPrintable) {
  const TemporaryFolder folder;
  const std::string name = std::string(1 << 20, 'x') + "\\u001b[31m";
  const auto long_name = write_bytes(folder / "a", safetensors_bytes("{\"" + name + "\":1}", 0));
  EXPECT_LT(message_of<CheckpointError>([&] { SafetensorsFile{long_name}; }).size(), 400U + long_name.string().size());
  const auto escape = write_bytes(folder / "b", safetensors_bytes(R"({"\u001b[31m":1})", 0));
  EXPECT_THAT(message_of<CheckpointError>([&] { SafetensorsFile{escape}; }), HasSubstr("'?[31m'"));
}

// Each of these costs memory or stack in a reader that builds a tree first. They are refused at the first wrong token,
// whatever follows: here megabytes of it, which a reader that goes on would show as a failed stack or a slow suite.
TEST(SafetensorsMalformed, ResourceBombsAreRefused) {
  const TemporaryFolder folder;
  const auto message = [&](const std::string& bytes) {
    const auto path = write_bytes(folder / "bomb.safetensors", bytes);
    return message_of<CheckpointError>([&] { SafetensorsFile{path}; });
  };
  const std::string deep(1'000'000, '[');
  EXPECT_THAT(message(safetensors_bytes("{\"t\":" + deep, 0)), HasSubstr("gives 't' as an array"));
  EXPECT_THAT(message(safetensors_bytes(R"({"t":{"shape":)" + deep, 0)), HasSubstr("'shape' holds an array"));
  std::string objects;
  for (int i = 0; i < 200'000; ++i) objects += "{\"t\":";
  EXPECT_THAT(message(safetensors_bytes(objects, 0)), HasSubstr("'t'"));
  EXPECT_THAT(message(one("U8", ones(1'000'000), "[0,1]", 1)), HasSubstr("more than 64 dimensions"));

  std::string same_span = "{";
  for (int i = 0; i < 100'000; ++i) {
    same_span += c10::str('"', i, R"(":{"dtype":"U8","shape":[64],"data_offsets":[0,64]},)");
  }
  same_span.back() = '}';
  EXPECT_THAT(message(safetensors_bytes(same_span, 64)), HasSubstr("tensor '1': overlaps other tensors"));

  // 100 MB of claimed header in a sparse file: nothing of it is valid.
  const auto sparse = write_bytes(folder / "sparse.safetensors", claiming(100'000'000, "{"));
  std::filesystem::resize_file(sparse, 100'000'008);
  EXPECT_THAT(message_of<CheckpointError>([&] { SafetensorsFile{sparse}; }), HasSubstr("NUL at byte 9"));
}

}  // namespace
}  // namespace layalign::checkpoints_tools
