#include "trainer/event_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "checkpoints_tools/error.h"
#include "data/protobuf.h"
#include "tests/unit/trainer/scratch_folder.h"
#include "trainer/stage_events.h"

namespace layalign::trainer {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

/// The bytes that hexadecimal digits mean.
std::string from_hex(const std::string& digits) {
  std::string bytes;
  for (size_t i = 0; i < digits.size(); i += 2) bytes += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
  return bytes;
}

/// The messages of a file of records, each checksum compared.
std::vector<std::string> records_of(const std::string& file) {
  std::vector<std::string> records;
  for (size_t at = 0; at < file.size();) {
    uint64_t length = 0;
    std::memcpy(&length, file.data() + at, sizeof length);
    records.push_back(file.substr(at + 12, length));
    EXPECT_EQ(file.substr(at, length + 16), tf_record(records.back()));
    at += length + 16;
  }
  return records;
}

/// The fields of a message with this number.
std::vector<data::ProtobufField> fields(std::string_view message, uint64_t number) {
  std::vector<data::ProtobufField> found;
  data::ProtobufReader reader(message);
  for (data::ProtobufField field; reader.next(field);) {
    if (field.number == number) found.push_back(field);
  }
  return found;
}

/// Those events of a file that start a session: their steps.
std::vector<uint64_t> starts_in(const fs::path& path) {
  std::vector<uint64_t> steps;
  for (const std::string& record : records_of(read_bytes(path))) {
    if (!fields(record, 7).empty()) steps.push_back(fields(record, 2).at(0).integer);
  }
  return steps;
}

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

TEST(EventFile, ChecksumsAreThoseOfRfc3720) {
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  std::string ascending(32, '\0');
  std::iota(ascending.begin(), ascending.end(), '\0');
  EXPECT_EQ(crc32c(ascending), 0x46dd794eu);
}

TEST(EventFile, RecordsAreThoseThatTensorFlowWrites) {
  // Written with tensorboard 2.21's RecordWriter.
  EXPECT_EQ(tf_record("layalign"), from_hex("0800000000000000ff86240f6c6179616c69676e89dfb9a7"));
}

TEST(EventFile, MessagesAreThoseOfTensorBoard) {
  // Serialised by the classes of tensorboard 2.21.
  EXPECT_EQ(Summary().scalar("train/loss", 2.5).message(), from_hex("0a110a0a747261696e2f6c6f73731500002040"));
  EXPECT_EQ(Summary().text("config", "seed: 0").message(),
            from_hex("0a210a06636f6e666967420d080712004207736565643a20304a080a060a0474657874"));
  EXPECT_EQ(Summary().histogram("gates", std::vector<float>{0.5, 0.5}).message(),
            from_hex("0a4a0a0567617465732a4109000000000000e03f11000000000000e03f19000000000000004021000000000000f03f290"
                     "00000000000e03f3208000000000000e03f3a080000000000000040"));
}

TEST(EventFile, HistogramsCountEveryFiniteValueOnce) {
  const float infinity = std::numeric_limits<float>::infinity();
  const auto summary = Summary().histogram("gates", std::vector<float>{-1, 2, 0.5, infinity, 2});
  const auto value = fields(summary.message(), 1).at(0).bytes;
  const auto histogram = fields(value, 5).at(0).bytes;
  std::vector<double> limits(30), counts(30);
  ASSERT_EQ(fields(histogram, 6).at(0).bytes.size(), 240u);
  std::memcpy(limits.data(), fields(histogram, 6).at(0).bytes.data(), 240);
  std::memcpy(counts.data(), fields(histogram, 7).at(0).bytes.data(), 240);
  std::vector<double> expected(30);
  expected[0] = 1;   // -1
  expected[14] = 1;  // 0.5, the upper end of the fifteenth of thirty buckets from -1 to 2
  expected[29] = 2;
  EXPECT_EQ(counts, expected);
  EXPECT_EQ(limits[29], 2);
  EXPECT_TRUE(Summary().histogram("gates", std::vector<float>{infinity}).empty());
  EXPECT_TRUE(Summary().histogram("gates", {}).empty());
}

TEST(EventFile, BeginsAsEveryEventFileDoes) {
  const ScratchFolder folder;
  EventFile(folder / "new/stage", 1);
  const std::string file = read_bytes(files_in(folder / "new/stage").at(0));
  // The first bytes of every event file of TensorFlow: a record of 24 bytes, whose last thirteen are the version.
  EXPECT_EQ(file.substr(0, 12), from_hex("1800000000000000a37f4b22"));
  EXPECT_EQ(records_of(file).at(0).substr(11), "brain.Event:2");
}

TEST(EventFile, ALaterFileHasALaterNameAndSaysWhereItBegins) {
  const ScratchFolder folder;
  fs::create_directories(folder / "stage");
  const fs::path old = folder / "stage/events.out.tfevents.4000000000.host.1";  // of a machine whose clock is wrong
  write_bytes(old, "");
  EventFile(folder / "stage", 1);
  EventFile(folder / "stage", 5);
  const auto files = files_in(folder / "stage");
  ASSERT_EQ(files.size(), 3u);
  EXPECT_EQ(files[0], old);
  EXPECT_THAT(starts_in(files[1]), ElementsAre(1));
  EXPECT_THAT(starts_in(files[2]), ElementsAre(5));
}

TEST(StageEvents, WritesAnEventForEachLineOfTheMetrics) {
  const ScratchFolder folder;
  StageEvents events(folder / "stage", 2, {1, 3}, "seed: 0\n");
  events.append(StepMetrics{.step = 3, .loss = 2.5, .gates = {0.5F, 0.25F}});
  events.append(EvaluationMetrics{.step = 3, .loss = 1, .language_perplexity = {{"Thai", 2.75}}});
  events.append(BenchmarkMetrics{.step = 3, .task = "mgsm", .accuracy = 0.5, .language_accuracy = {{"Thai", 0.5}}});
  const auto files = files_in(folder / "stage");
  EXPECT_THAT(starts_in(files.at(0)), ElementsAre(3));
  std::vector<std::pair<std::string, uint64_t>> tags;
  for (const std::string& record : records_of(read_bytes(files[0]))) {
    for (const auto& summary : fields(record, 5)) {
      for (const auto& value : fields(summary.bytes, 1)) {
        tags.emplace_back(fields(value.bytes, 1).at(0).bytes, fields(record, 2).at(0).integer);
      }
    }
  }
  const std::vector<std::pair<std::string, uint64_t>> expected{{"config", 2},
                                                               {"train/loss", 3},
                                                               {"train/grad_norm", 3},
                                                               {"train/learning_rate", 3},
                                                               {"train/epoch", 3},
                                                               {"throughput/tokens_per_s", 3},
                                                               {"throughput/samples_per_s", 3},
                                                               {"throughput/step_s", 3},
                                                               {"memory/peak_bytes", 3},
                                                               {"gates/layer_1", 3},
                                                               {"gates/layer_3", 3},
                                                               {"gates", 3},
                                                               {"eval/loss", 3},
                                                               {"eval/perplexity", 3},
                                                               {"perplexity/Thai", 3},
                                                               {"eval/mgsm_accuracy", 3},
                                                               {"mgsm_accuracy/Thai", 3}};
  EXPECT_EQ(tags, expected);
}

TEST(EventFile, AFullDiskIsReportedWithThePath) {
  const ScratchFolder folder;
  EventFile file(folder / "stage", 1);
  checkpoints_tools::set_file_hook(checkpoints_tools::fail_at(1, ENOSPC));
  try {
    file.append(1, Summary().scalar("train/loss", 1));
    ADD_FAILURE() << "no error";
  } catch (const checkpoints_tools::IoError& error) {
    EXPECT_THAT(error.what(), HasSubstr((folder / "stage/events.out.tfevents.").string()));
  }
  checkpoints_tools::set_file_hook({});
}

}  // namespace
}  // namespace layalign::trainer
