#include "trainer/schedule.h"

#include <gtest/gtest.h>

#include <vector>

#include "configs/error.h"

namespace layalign::trainer {
namespace {

/// What transformers 5.23 gives for each step at peak 4e-5: get_NAME_schedule_with_warmup(ceil(warmup * steps), steps),
/// read with get_last_lr() before each update.
struct Reference {
  const char* name;
  double warmup;
  std::vector<double> rates;
};

const std::vector<Reference> kReferences{
    {"cosine",
     0.05,
     {0.0,
      4e-05,
      3.972722606805445e-05,
      3.8916344834012695e-05,
      3.758947502412978e-05,
      3.578281018792788e-05,
      3.354563143251483e-05,
      3.093896316244855e-05,
      2.8033908493059394e-05,
      2.4909709742815986e-05,
      2.165158690944665e-05,
      1.8348413090553356e-05,
      1.5090290257184019e-05,
      1.1966091506940616e-05,
      9.061036837551467e-06,
      6.4543685674851834e-06,
      4.217189812072131e-06,
      2.410524975870221e-06,
      1.0836551659873073e-06,
      2.7277393194555357e-07}},
    {"linear",
     0.05,
     {0.0,
      4e-05,
      3.789473684210526e-05,
      3.578947368421053e-05,
      3.368421052631579e-05,
      3.157894736842106e-05,
      2.9473684210526317e-05,
      2.7368421052631583e-05,
      2.526315789473684e-05,
      2.3157894736842107e-05,
      2.105263157894737e-05,
      1.894736842105263e-05,
      1.6842105263157896e-05,
      1.4736842105263159e-05,
      1.263157894736842e-05,
      1.0526315789473684e-05,
      8.421052631578948e-06,
      6.31578947368421e-06,
      4.210526315789474e-06,
      2.105263157894737e-06}},
    {"cosine",
     0.3,
     {0.0, 1.3333333333333333e-05, 2.6666666666666667e-05, 4e-05, 3.4142135623730954e-05, 2e-05,
      5.857864376269051e-06}},
    {"linear", 0.3, {0.0, 1.3333333333333333e-05, 2.6666666666666667e-05, 4e-05, 3.0000000000000004e-05, 2e-05, 1e-05}},
    {"constant", 0.3, {0.0, 1.3333333333333333e-05, 2.6666666666666667e-05, 4e-05, 4e-05, 4e-05, 4e-05}},
    {"cosine", 0.0, {4e-05, 3.0000000000000004e-05, 1.0000000000000006e-05}},
    {"linear", 0.0, {4e-05, 2.6666666666666667e-05, 1.3333333333333333e-05}},
    {"constant", 0.0, {4e-05, 4e-05, 4e-05}},
};

TEST(Schedule, GivesTheNumbersOfTransformers) {
  for (const Reference& reference : kReferences) {
    const configs::ScheduleConfig schedule{reference.name, reference.warmup};
    const auto steps = static_cast<int64_t>(reference.rates.size());
    for (int64_t step = 0; step < steps; ++step) {
      // Double arithmetic in the same order; 1e-15 of the peak leaves room for another cosine of the C library.
      EXPECT_NEAR(learning_rate(schedule, 4e-5, step, steps), reference.rates[step], 4e-20)
          << reference.name << " " << reference.warmup << " step " << step;
    }
  }
}

TEST(Schedule, StaysAtZeroBeyondTheEnd) {
  EXPECT_EQ(learning_rate({"linear", 0.0}, 1.0, 12, 10), 0.0);
  EXPECT_EQ(learning_rate({"cosine", 0.0}, 1.0, 10, 10), 0.0);
}

TEST(Schedule, RefusesAnotherName) { EXPECT_THROW(learning_rate({"step", 0.0}, 1.0, 0, 10), configs::ConfigError); }

}  // namespace
}  // namespace layalign::trainer
