#pragma once

#include <memory>

#include "dist/process.h"

/// The one `dist::Process` of this test program, made by its `main` before the first test runs.
std::shared_ptr<layalign::dist::Process> test_process();
