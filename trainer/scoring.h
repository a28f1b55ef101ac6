#pragma once

#include <string>
#include <string_view>

#include "data/evaluation_task.h"

namespace layalign::trainer {

/// The last number of a text, as the public code finds it: a comma between two digits is dropped, then the last match
/// of \d+(\.\d+)? counts, so a minus sign does not. As in Python, the decimal digits of every script are digits
/// (Bengali ১২ is 12) and a scan never looks at a character twice ("1,2,3" loses its first comma alone). 0 where there
/// is no number. `text` must be well-formed UTF-8.
double last_number(std::string_view text);

/// `text` without the white space at its ends, as Python's str.strip. `text` must be well-formed UTF-8.
std::string_view strip(std::string_view text);

/// What an output says, and whether that is the answer.
struct Score {
  std::string prediction;  ///< a number as Python prints a float ("18.0"), or the stripped output
  bool correct = false;
};

/// Scores what the LLM wrote against the reference. Math: the last numbers of both differ by less than 1e-3. Labels:
/// the stripped output is the answer to the letter.
Score score(data::EvaluationTask task, std::string_view answer, std::string_view output);

/// A number as Python's str(float) writes it: "18.0", "0.5", "1e+16", "inf".
std::string python_float(double value);

}  // namespace layalign::trainer
