#include "configs/scalars.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <random>

#include "configs/languages.h"
#include "configs/spelling.h"

namespace layalign::configs {
namespace {

TEST(ParseInteger, ReadsPlainDigitsOnly) {
  EXPECT_EQ(parse_integer("0"), 0);
  EXPECT_EQ(parse_integer("-17"), -17);
  EXPECT_EQ(parse_integer("9223372036854775807"), std::numeric_limits<int64_t>::max());
  for (const char* text : {"", "-", "+1", "010", "00", "-01", "0x10", "0o10", "1_000", "1,000", "1.0", "1e3", " 1",
                           "1 ", "ten", "9223372036854775808", "-9223372036854775809"}) {
    EXPECT_EQ(parse_integer(text), std::nullopt) << text;
  }
}

TEST(ParseBytes, ReadsIntegersAndBinaryUnits) {
  EXPECT_EQ(parse_bytes("1"), 1);
  EXPECT_EQ(parse_bytes("3KiB"), 3072);
  EXPECT_EQ(parse_bytes("512MiB"), int64_t{512} << 20);
  EXPECT_EQ(parse_bytes("2GiB"), int64_t{2} << 30);
  EXPECT_EQ(parse_bytes("7TiB"), int64_t{7} << 40);
  for (const char* text : {"", "GiB", "-1", "-1GiB", "1.5GiB", "2GB", "2gib", "2 GiB", "010", "1e9", "8388608TiB"}) {
    EXPECT_EQ(parse_bytes(text), std::nullopt) << text;
  }
}

TEST(FormatBytes, ReadsBackAndUsesTheLargestUnitThatDivides) {
  EXPECT_EQ(format_bytes(int64_t{2} << 30), "2GiB");
  EXPECT_EQ(format_bytes(int64_t{1536} << 20), "1536MiB");
  EXPECT_EQ(format_bytes(1025), "1025");
  EXPECT_EQ(format_bytes(0), "0");
  for (int64_t bytes : {int64_t{1}, int64_t{1024}, int64_t{12345}, int64_t{3} << 41}) {
    EXPECT_EQ(parse_bytes(format_bytes(bytes)), bytes);
  }
}

TEST(ParseNumber, ReadsJsonNumbersOnly) {
  EXPECT_EQ(parse_number("1e-05"), 1e-5);
  EXPECT_EQ(parse_number("4.0e-5"), 4e-5);
  EXPECT_EQ(parse_number("1E-4"), 1e-4);
  EXPECT_EQ(parse_number("-2"), -2.0);
  EXPECT_EQ(parse_number("1e+2"), 100.0);
  for (const char* text : {"", ".5", "1.", "+1", "01.5", ".nan", ".inf", "-.inf", "nan", "inf", "infinity", "0x1p3",
                           "1_0.5", "1e", "1e+", "1.5.2", "1e999", "1d5"}) {
    EXPECT_EQ(parse_number(text), std::nullopt) << text;
  }
}

TEST(FormatNumber, IsShortAndReadsBackExactly) {
  EXPECT_EQ(format_number(1e-8), "1e-08");
  EXPECT_EQ(format_number(0.0001), "0.0001");
  EXPECT_EQ(format_number(0.999), "0.999");
  EXPECT_EQ(format_number(0.1 + 0.2), "0.30000000000000004");
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> exponent(-300, 300);
  for (int i = 0; i < 2000; ++i) {
    const double value = std::pow(10.0, exponent(random)) * (i % 2 == 0 ? 1 : -1);
    EXPECT_EQ(parse_number(format_number(value)), value);
  }
}

TEST(LooksTyped, FindsWhatYamlDoesNotReadAsText) {
  for (const char* text : {"1", "-1", "010", "0x1F", "0o17", "1_000", ".5", "1.", "1e5", "1.5", "true", "False", "null",
                           "~", ".nan", "-.Inf", "2024-01-01"}) {
    EXPECT_TRUE(looks_typed(text)) << text;
  }
  for (const char* text :
       {"", "a", "runs/1", "v1.0", "1.2.3", "7B", "0xyz", "x1", "-", ".", "..", "./1", "yes", "e5", "-e5"}) {
    EXPECT_FALSE(looks_typed(text)) << text;
  }
}

TEST(Durations, AreReadAndWritten) {
  EXPECT_EQ(parse_duration("45s"), 45);
  EXPECT_EQ(parse_duration("90m"), 5400);
  EXPECT_EQ(parse_duration("23h30m"), 84600);
  EXPECT_EQ(parse_duration("2d1s"), 172801);
  for (const char* text : {"", "5", "m", "1.5h", "-1m", "5m3h", "1h1h", "5 m", "010m", "5x", "99999999999999d"}) {
    EXPECT_EQ(parse_duration(text), std::nullopt) << text;
  }
  for (int64_t seconds : {0, 1, 59, 60, 3600, 84600, 90061}) EXPECT_EQ(parse_duration(format_duration(seconds)), seconds);
  EXPECT_EQ(format_duration(84600), "23h30m");
}

TEST(FormatText, QuotesWhatWouldNotReadAsItself) {
  EXPECT_EQ(format_text("models/mt5-xl"), "models/mt5-xl");
  EXPECT_EQ(format_text("../a_b.c"), "../a_b.c");
  for (const char* text :
       {"", "5", "true", "null", "a b", "a: b", "#a", "-a", "---", "...", "[a]", "é", "a\"b", "a\\b", "'a'"}) {
    EXPECT_EQ(format_text(text).front(), '"') << text;
  }
  EXPECT_EQ(format_text("a\"b\\c"), R"("a\"b\\c")");
}

TEST(Nearest, FindsTheWordThatWasMeant) {
  constexpr std::array<std::string_view, 5> kKnown{"eps", "betas", "weight_decay", "loss_normalization", "lr"};
  EXPECT_EQ(nearest("weigth_decay", kKnown), "weight_decay");
  EXPECT_EQ(nearest("WEIGHT-DECAY", kKnown), "weight_decay");
  EXPECT_EQ(nearest("beta", kKnown), "betas");
  EXPECT_EQ(nearest("lrr", kKnown), "lr");
  EXPECT_EQ(nearest("momentum", kKnown), std::nullopt);
  EXPECT_EQ(nearest("x", kKnown), std::nullopt);
  EXPECT_EQ(nearest("", kKnown), std::nullopt);
  EXPECT_EQ(nearest(std::string(100'000, 'a'), kKnown), std::nullopt);
  EXPECT_EQ(suggestion("ep", kKnown), "; did you mean 'eps'?");
}

TEST(Languages, HaveCodesOfTheirOwn) {
  EXPECT_EQ(language_code("Bengali"), "bn");
  EXPECT_EQ(language_code("bengali"), std::nullopt);
  for (const Language& a : kLanguages) {
    EXPECT_EQ(a.code.size(), 2u);
    for (const Language& b : kLanguages) EXPECT_TRUE(&a == &b || (a.name != b.name && a.code != b.code)) << a.name;
  }
}

}  // namespace
}  // namespace layalign::configs
