// Loads and uses a tokenizer whose file is damaged in many ways. What counts is that the process does not end.
//   damage FOLDER FILE ROUNDS SEED       FILE: of the folder, such as spiece.model or tokenizer.json
#include "tests/unit/data/damage.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "data/error.h"
#include "data/tokenizer.h"
#include "tests/unit/data/temporary_folder.h"

namespace {

namespace fs = std::filesystem;
using namespace layalign::data;

bool is_refused(const fs::path& folder) {
  try {
    const auto tokenizer = load_tokenizer(folder);
    tokenizer->decode(
        encode_source(*tokenizer, "Janet’s ducks lay 16 eggs. ﬁ ｶﾞ e\u0301 ①㎏ \U0001F600 </s>", "unknown", 64));
    return false;
  } catch (const DataError&) {
    return true;
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 5) {
    std::fputs("usage: damage FOLDER FILE ROUNDS SEED\n", stderr);
    return 2;
  }
  const std::string file = arguments[2];
  TemporaryFolder copy;
  fs::copy(arguments[1], copy.path(), fs::copy_options::recursive);
  std::ifstream stream(copy.path() / file, std::ios::binary);
  const std::string whole{std::istreambuf_iterator<char>(stream), {}};
  const bool is_json = file == "tokenizer.json";
  const nlohmann::json parsed = is_json ? nlohmann::json::parse(whole) : nlohmann::json();
  std::mt19937 random(static_cast<unsigned>(std::atoi(arguments[4])));
  const int rounds = std::atoi(arguments[3]);
  int refused = 0;
  for (int round = 0; round < rounds; ++round) {
    copy.write(file, is_json ? damaged_json(parsed, random) : damaged_bytes(whole, random));
    refused += is_refused(copy.path());
  }
  std::printf("%s: %d damaged, %d refused, %d read\n", arguments[1], rounds, refused, rounds - refused);
}
