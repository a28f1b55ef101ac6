#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "configs/reader.h"

// What the documents say of the config against what the reader knows.
namespace layalign::configs::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::IsEmpty;

const fs::path kRoot = LAYALIGN_SOURCE_DIR;

std::string text_of(const fs::path& file) {
  std::ifstream stream(file);
  EXPECT_TRUE(stream) << file;
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::set<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::set<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.insert(line);
  return lines;
}

/// The lines of `a` that `b` lacks.
std::vector<std::string> missing_lines(const std::string& a, const std::string& b) {
  const auto in_a = lines_of(a), in_b = lines_of(b);
  std::vector<std::string> missing;
  std::ranges::set_difference(in_a, in_b, std::back_inserter(missing));
  return missing;
}

TEST(Documents, TheReferenceIsWhatTheReaderKnows) {
  const std::string document = text_of(kRoot / "docs/configuration.md"), known = help_markdown();
  const size_t begin = document.find(known.substr(0, known.find('\n') + 1));
  ASSERT_NE(begin, std::string::npos) << "docs/configuration.md has no '## Top of the file'";
  const std::string written = document.substr(begin);
  EXPECT_THAT(missing_lines(known, written), IsEmpty()) << "not in docs/configuration.md, which says how to renew it";
  EXPECT_THAT(missing_lines(written, known), IsEmpty()) << "in docs/configuration.md, not in configs/fields.h";
  EXPECT_TRUE(written == known) << "docs/configuration.md has another order of lines";
}

TEST(Documents, NameOnlyKeysThatThereAre) {
  const std::string known = help_markdown();
  std::vector<fs::path> files{kRoot / "README.md", kRoot / "launch/README.md"};
  for (const char* folder : {"docs", "configs", "configs/ablations"}) {
    for (const auto& entry : fs::directory_iterator(kRoot / folder)) {
      if (entry.path().extension() == ".md" || entry.path().extension() == ".yaml") files.push_back(entry.path());
    }
  }
  const std::regex assignment("--set[ =]'?([a-z_0-9.]+)="), stage("^stages\\.[0-9]+");
  size_t keys = 0;
  for (const auto& file : files) {
    const std::string text = text_of(file);
    for (std::sregex_iterator found(text.begin(), text.end(), assignment), end; found != end; ++found, ++keys) {
      const std::string key = std::regex_replace((*found)[1].str(), stage, "stages[]");
      EXPECT_NE(known.find("| `" + key + "` |"), std::string::npos) << file << ": no key '" << key << "'";
    }
  }
  EXPECT_GT(keys, 20u);
}

}  // namespace
}  // namespace layalign::configs::testing
