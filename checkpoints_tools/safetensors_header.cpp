#include "checkpoints_tools/safetensors_header.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/safetensors_dtype.h"

namespace layalign::checkpoints_tools {
namespace {

using nlohmann::json;

constexpr size_t kMaxDimensions = 64;  // as many as LibTorch's kernels take
constexpr std::string_view kWhitespace = " \t\r\n";

/// Receives the header's JSON token by token: nothing is kept that is not part of a valid header, and nesting deeper
/// than the format's is refused at its first bracket.
class HeaderReader final : public nlohmann::json_sax<json> {
 public:
  HeaderReader(const std::filesystem::path& path, uint64_t data_begin, uint64_t file_bytes)
      : path_(path), file_bytes_(file_bytes), data_bytes_(file_bytes - data_begin) {
    header_.data_begin = data_begin;
  }

  SafetensorsHeader finish() {
    check_contiguous();
    return std::move(header_);
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::kStart) {
      place_ = Place::kRoot;
    } else if (place_ == Place::kRoot) {
      place_ = name_ == kMetadataKey ? Place::kMetadata : Place::kTensor;
      dtype_.reset();
      shape_.reset();
      offsets_.reset();
    } else {
      refuse_value("an object");
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::kTensor) add_tensor();
    place_ = place_ == Place::kRoot ? Place::kEnd : Place::kRoot;
    return true;
  }

  bool key(std::string& text) override {
    if (place_ == Place::kRoot) {
      const bool is_metadata = text == kMetadataKey;
      if (is_metadata ? std::exchange(has_metadata_, true) : header_.tensors.contains(text)) {
        fail("the header names " + in_quotes(text) + " twice; " + std::string(kSaveAgain));
      }
      name_ = std::move(text);
    } else if (place_ == Place::kMetadata) {
      if (header_.metadata.contains(text))
        fail("__metadata__ has " + in_quotes(text) + " twice; " + std::string(kSaveAgain));
      field_ = std::move(text);
    } else {
      field_ = std::move(text);
      if (field_ != "dtype" && field_ != "shape" && field_ != "data_offsets") {
        fail_tensor("unknown field " + in_quotes(field_) + ", expected dtype, shape and data_offsets");
      }
      if ((field_ == "dtype" && dtype_) || (field_ == "shape" && shape_) || (field_ == "data_offsets" && offsets_)) {
        fail_tensor("the field " + in_quotes(field_) + " is given twice");
      }
    }
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ == Place::kTensor && field_ == "shape") {
      shape_.emplace();
      place_ = Place::kShape;
    } else if (place_ == Place::kTensor && field_ == "data_offsets") {
      offsets_.emplace();
      place_ = Place::kOffsets;
    } else {
      refuse_value("an array");
    }
    return true;
  }

  bool end_array() override {
    if (place_ == Place::kOffsets && offsets_->size() != 2) fail_tensor("data_offsets has one number, expected two");
    place_ = Place::kTensor;
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::kShape) {
      if (shape_->size() == kMaxDimensions) fail_tensor("more than " + std::to_string(kMaxDimensions) + " dimensions");
      if (value > INT64_MAX) fail_tensor("dimension " + std::to_string(value) + " overflows");
      shape_->push_back(static_cast<int64_t>(value));
    } else if (place_ == Place::kOffsets) {
      if (offsets_->size() == 2) fail_tensor("data_offsets has more than two numbers, expected two");
      offsets_->push_back(value);
    } else {
      refuse_value("a number");
    }
    return true;
  }

  bool string(string_t& text) override {
    if (place_ == Place::kMetadata) {
      header_.metadata[field_] = std::move(text);
    } else if (place_ == Place::kTensor && field_ == "dtype") {
      dtype_ = std::move(text);
    } else {
      refuse_value("a string");
    }
    return true;
  }

  bool number_integer(number_integer_t) override { return refuse_value("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    return refuse_value("a number that is no integer of 64 bits");
  }
  bool null() override { return refuse_value("null"); }
  bool boolean(bool) override { return refuse_value("true or false"); }
  bool binary(binary_t&) override { return refuse_value("binary data"); }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    // Of the library's message only the cause: the rest repeats the position and can repeat the whole header.
    std::string_view cause = error.what();
    if (const auto code = cause.find("] "); code != cause.npos) cause.remove_prefix(code + 2);
    if (const auto start = cause.find(" - "); start != cause.npos) cause.remove_prefix(start + 3);
    cause = cause.substr(0, std::min<size_t>(cause.find("; last read"), 120));
    fail("the header is not valid JSON at byte " + std::to_string(kLengthBytes + std::max<size_t>(position, 1) - 1) +
         " (" + std::string(cause) + "); the file is damaged or not a safetensors file, copy it again");
  }

 private:
  enum class Place { kStart, kRoot, kTensor, kShape, kOffsets, kMetadata, kEnd };

  static constexpr std::string_view kSaveAgain = "save the file again with a correct writer";

  [[noreturn]] void fail(const std::string& what) const { throw CheckpointError(path_.string() + ": " + what); }

  [[noreturn]] void fail_tensor(const std::string& what) const {
    fail("tensor " + in_quotes(name_) + ": " + what + "; " + std::string(kSaveAgain));
  }

  bool refuse_value(const std::string& got) const {
    switch (place_) {
      case Place::kStart:
        fail("the header is " + got + ", expected a JSON object; this is not a safetensors file");
      case Place::kRoot:
        fail("the header gives " + in_quotes(name_) + " as " + got + ", expected an object");
      case Place::kMetadata:
        fail("__metadata__ gives " + in_quotes(field_) + " as " + got + ", expected a string");
      case Place::kTensor:
        fail_tensor("the field " + in_quotes(field_) + " is " + got);
      default:
        fail_tensor(in_quotes(field_) + " holds " + got + ", expected whole numbers from 0 up");
    }
  }

  void add_tensor() {
    if (!dtype_ || !shape_ || !offsets_) {
      fail_tensor(std::string("the field ") + (!dtype_ ? "dtype" : !shape_ ? "shape" : "data_offsets") + " is missing");
    }
    const SafetensorsDtype* dtype = find_dtype(*dtype_);
    if (!dtype) {
      const std::string what = "tensor " + in_quotes(name_) + ": dtype " + in_quotes(*dtype_);
      fail(what + (is_unsupported_dtype(*dtype_) ? " is not supported here; convert the tensor to another dtype"
                                                 : " is unknown; " + std::string(kSaveAgain)));
    }
    const auto [begin, end] = std::pair((*offsets_)[0], (*offsets_)[1]);
    if (begin > end) {
      fail_tensor("data_offsets [" + std::to_string(begin) + ", " + std::to_string(end) + "] end before they begin");
    }
    const uint64_t bytes = checked_bytes(dtype->bytes);
    if (end - begin != bytes) {
      fail_tensor("data_offsets span " + std::to_string(end - begin) + " bytes, shape and dtype need " +
                  std::to_string(bytes));
    }
    if (end > data_bytes_) {
      fail("is truncated: the header promises tensor " + in_quotes(name_) + " up to byte " + std::to_string(end) +
           " after the header, the file has " + std::to_string(data_bytes_) + " there; copy it again");
    }
    // Tensors that share bytes sum to more than the file: found here, a flood of them ends at once.
    promised_bytes_ += bytes;
    if (promised_bytes_ > data_bytes_)
      fail_tensor("overlaps other tensors: together they need more bytes than the file has");
    header_.tensors.emplace(std::move(name_), TensorInfo{std::move(*dtype_), std::move(*shape_),
                                                         header_.data_begin + begin, header_.data_begin + end});
  }

  /// The bytes of shape and dtype. An empty dimension does not excuse the others: LibTorch multiplies them for strides.
  uint64_t checked_bytes(uint64_t element_bytes) const {
    int64_t bytes = static_cast<int64_t>(element_bytes);
    bool empty = false;
    for (const int64_t dimension : *shape_) {
      empty |= dimension == 0;
      if (__builtin_mul_overflow(bytes, std::max<int64_t>(dimension, 1), &bytes)) {
        fail_tensor("shape times element size overflows 63 bits");
      }
    }
    return empty ? 0 : static_cast<uint64_t>(bytes);
  }

  /// The tensors must cover the data exactly, so that no byte can hide another format or be read as two tensors.
  void check_contiguous() const {
    std::vector<const std::pair<const std::string, TensorInfo>*> order;
    order.reserve(header_.tensors.size());
    for (const auto& entry : header_.tensors) order.push_back(&entry);
    std::ranges::sort(order, {}, [](const auto* entry) { return std::pair(entry->second.begin, entry->second.end); });
    uint64_t covered = header_.data_begin;
    for (const auto* entry : order) {
      const auto& [name, info] = *entry;
      if (info.begin != covered) {
        fail("tensor " + in_quotes(name) + " begins at byte " + std::to_string(info.begin) + ", expected " +
             std::to_string(covered) + " (" +
             (info.begin < covered ? "it overlaps another tensor" : "a hole before it") + "); " +
             std::string(kSaveAgain));
      }
      covered = info.end;
    }
    if (covered != file_bytes_) {
      fail("has " + std::to_string(file_bytes_ - covered) + " trailing bytes: the tensors end at byte " +
           std::to_string(covered) + ", the file at " + std::to_string(file_bytes_) + "; copy it again");
    }
  }

  const std::filesystem::path& path_;
  const uint64_t file_bytes_;
  const uint64_t data_bytes_;
  SafetensorsHeader header_;
  uint64_t promised_bytes_ = 0;
  bool has_metadata_ = false;
  Place place_ = Place::kStart;
  std::string name_;   // of the tensor
  std::string field_;  // of the tensor or of __metadata__
  std::optional<std::string> dtype_;
  std::optional<std::vector<int64_t>> shape_;
  std::optional<std::vector<uint64_t>> offsets_;
};

/// The header's text, once its length is known to be sane.
std::string_view header_text(std::span<const std::byte> bytes, const std::filesystem::path& path) {
  const auto fail = [&](const std::string& what) { throw CheckpointError(path.string() + ": " + what); };
  if (bytes.size() < kLengthBytes) {
    fail("is truncated: a safetensors file begins with 8 bytes of length, the file has " +
         std::to_string(bytes.size()) + "; copy it again");
  }
  uint64_t header_bytes = 0;
  for (size_t i = kLengthBytes; i-- > 0;) header_bytes = header_bytes << 8 | std::to_integer<uint64_t>(bytes[i]);
  if (header_bytes > kMaxHeaderBytes) {
    fail("the header length at byte 0 is " + std::to_string(header_bytes) + ", above the format's limit of " +
         std::to_string(kMaxHeaderBytes) + "; this is not a safetensors file, or it is damaged");
  }
  if (header_bytes > bytes.size() - kLengthBytes) {
    fail("is truncated: the header needs " + std::to_string(kLengthBytes + header_bytes) + " bytes, the file has " +
         std::to_string(bytes.size()) + "; copy it again");
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, header_bytes);
  // Checked here because the JSON library skips a byte order mark and takes a NUL for the end of its input.
  const size_t first = text.find_first_not_of(kWhitespace);
  if (first == text.npos || text[first] != '{') {
    fail("the header does not begin with '{', expected a JSON object; this is not a safetensors file");
  }
  if (const size_t nul = text.find('\0'); nul != text.npos) {
    fail("the header holds a NUL at byte " + std::to_string(kLengthBytes + nul) +
         "; the file is damaged, copy it again");
  }
  return text;
}

}  // namespace

SafetensorsHeader parse_header(std::span<const std::byte> bytes, const std::filesystem::path& path) {
  const std::string_view text = header_text(bytes, path);
  HeaderReader reader(path, kLengthBytes + text.size(), bytes.size());
  json::sax_parse(text.begin(), text.end(), &reader);
  return reader.finish();
}

std::string in_quotes(std::string_view name) {
  constexpr size_t kShown = 100;
  std::string text(name.substr(0, kShown));
  std::ranges::replace_if(
      text, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return "'" + text + (name.size() > kShown ? "...'" : "'");
}

}  // namespace layalign::checkpoints_tools
