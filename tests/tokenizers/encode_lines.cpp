// The tokenizer of a folder as a filter, for compare.py: lines of JSON in, lines of JSON out.
//   encode_lines FOLDER LANGUAGE < in > out
//   {"text": ...} -> {"ids": ..., "framed": ...}     {"ids": [...]} -> {"decoded": ...}
#include <cstdio>
#include <exception>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/tokenizer.h"

namespace {

using layalign::data::Tokenizer;
using nlohmann::json;

json answer(const Tokenizer& tokenizer, const std::string& language, const json& question) {
  if (!question.contains("text")) return {{"decoded", tokenizer.decode(question["ids"].get<std::vector<int64_t>>())}};
  const auto text = question["text"].get<std::string>();
  constexpr int64_t kWhole = std::numeric_limits<int64_t>::max();
  return {{"ids", tokenizer.encode(text)},
          {"framed", layalign::data::encode_source(tokenizer, text, language, kWhole)}};
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) {
    std::fputs("usage: encode_lines FOLDER LANGUAGE < in > out\n", stderr);
    return 2;
  }
  try {
    const auto tokenizer = layalign::data::load_tokenizer(arguments[1]);
    for (std::string line; std::getline(std::cin, line);) {
      std::cout << answer(*tokenizer, arguments[2], json::parse(line)).dump() << '\n';
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
