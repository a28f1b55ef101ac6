#include "trainer/event_file.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "trainer/durable_file.h"

static_assert(std::endian::native == std::endian::little, "event files hold little-endian numbers");

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "events.out.tfevents.";
constexpr int kBuckets = 30;

constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78U : 0);
    table[byte] = crc;
  }
  return table;
}

template <typename Number>
void append_number(std::string& bytes, Number number) {
  std::array<char, sizeof number> raw;
  std::memcpy(raw.data(), &number, sizeof number);
  bytes.append(raw.data(), raw.size());
}

/// A protobuf message being written. Field numbers are those of event.proto, summary.proto and tensor.proto of
/// TensorBoard.
class Message {
 public:
  Message& integer(int field, uint64_t value) {
    varint(static_cast<uint64_t>(field) << 3);
    varint(value);
    return *this;
  }
  Message& float64(int field, double value) {
    varint(static_cast<uint64_t>(field) << 3 | 1);
    append_number(bytes_, value);
    return *this;
  }
  Message& float32(int field, float value) {
    varint(static_cast<uint64_t>(field) << 3 | 5);
    append_number(bytes_, value);
    return *this;
  }
  Message& bytes(int field, std::string_view value) {
    varint(static_cast<uint64_t>(field) << 3 | 2);
    varint(value.size());
    bytes_ += value;
    return *this;
  }
  Message& packed(int field, std::span<const double> values) {
    std::string list;
    for (const double value : values) append_number(list, value);
    return bytes(field, list);
  }
  const std::string& str() const { return bytes_; }

 private:
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
  }

  std::string bytes_;
};

double now_s() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

Message event(int64_t step) { return Message().float64(1, now_s()).integer(2, static_cast<uint64_t>(step)); }

Message histogram_of(const std::vector<double>& values) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  double sum = 0, squares = 0;
  for (const double value : values) {
    sum += value;
    squares += value * value;
  }
  std::vector<double> limits, counts;
  const int buckets = *low < *high ? kBuckets : 1;
  for (int i = 1; i <= buckets; ++i) limits.push_back(i < buckets ? *low + (*high - *low) * i / buckets : *high);
  counts.resize(limits.size());
  for (const double value : values) ++counts[std::lower_bound(limits.begin(), limits.end(), value) - limits.begin()];
  return Message()
      .float64(1, *low)
      .float64(2, *high)
      .float64(3, static_cast<double>(values.size()))
      .float64(4, sum)
      .float64(5, squares)
      .packed(6, limits)
      .packed(7, counts);
}

/// TensorBoard reads the files of a folder in the order of their names, which begin with the second of their beginning:
/// one later than those that are there, whatever the clocks of the machines that wrote them say.
fs::path new_file_name(const fs::path& folder) {
  auto second = static_cast<long long>(now_s());
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    second = std::max(second, std::strtoll(name.c_str() + kPrefix.size(), nullptr, 10) + 1);
  }
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  std::array<char, 32> time{};
  std::snprintf(time.data(), time.size(), "%010lld", second);
  return std::string(kPrefix) + time.data() + "." + host.data() + "." + std::to_string(::getpid());
}

checkpoints_tools::FileWriter new_file(const fs::path& folder) {
  return as_io_error([&] {
    checkpoints_tools::make_folder(folder);
    const fs::path path = folder / new_file_name(folder);
    return checkpoints_tools::FileWriter::create(path, path);
  });
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static constexpr auto kTable = crc_table();
  uint32_t crc = ~0U;
  for (const char byte : bytes) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<uint8_t>(byte)) & 0xff];
  return ~crc;
}

std::string tf_record(std::string_view bytes) {
  const auto masked = [](std::string_view part) { return std::rotr(crc32c(part), 15) + 0xa282ead8U; };
  std::string record;
  append_number(record, static_cast<uint64_t>(bytes.size()));
  append_number(record, masked(record));
  record += bytes;
  append_number(record, masked(bytes));
  return record;
}

Summary& Summary::scalar(std::string_view tag, double value) {
  const auto point = Message().bytes(1, tag).float32(2, static_cast<float>(value));
  message_ += Message().bytes(1, point.str()).str();
  return *this;
}

Summary& Summary::text(std::string_view tag, std::string_view markdown) {
  constexpr uint64_t kString = 7;  // DT_STRING
  const auto tensor = Message().integer(1, kString).bytes(2, "").bytes(8, markdown);
  const auto metadata = Message().bytes(1, Message().bytes(1, "text").str());
  const auto value = Message().bytes(1, tag).bytes(8, tensor.str()).bytes(9, metadata.str());
  message_ += Message().bytes(1, value.str()).str();
  return *this;
}

Summary& Summary::histogram(std::string_view tag, std::span<const float> values) {
  std::vector<double> finite;
  std::copy_if(values.begin(), values.end(), std::back_inserter(finite),
               [](float value) { return std::isfinite(value); });
  if (finite.empty()) return *this;
  const auto value = Message().bytes(1, tag).bytes(5, histogram_of(finite).str());
  message_ += Message().bytes(1, value.str()).str();
  return *this;
}

EventFile::EventFile(const fs::path& folder, int64_t first_step) : file_(new_file(folder)) {
  constexpr uint64_t kStart = 1;  // SessionLog::START
  const std::string version = Message().float64(1, now_s()).bytes(3, "brain.Event:2").str();
  const std::string start = event(first_step).bytes(7, Message().integer(1, kStart).str()).str();
  file_.write(std::as_bytes(std::span<const char>(tf_record(version) + tf_record(start))));
}

void EventFile::append(int64_t step, const Summary& summary) {
  if (summary.empty()) return;
  file_.write(std::as_bytes(std::span<const char>(tf_record(event(step).bytes(5, summary.message()).str()))));
}

}  // namespace layalign::trainer
