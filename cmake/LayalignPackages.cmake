# The distribution's packages. A missing one is named together with the line that installs it.

file(STRINGS ${PROJECT_SOURCE_DIR}/launch/packages.txt package_lines REGEX "^[a-z]")
list(TRANSFORM package_lines REPLACE "[ \t].*" "")
list(JOIN package_lines " " package_names)
set(LAYALIGN_APT_LINE "sudo apt-get install -y --no-install-recommends ${package_names}")

function(layalign_missing what)
  message(FATAL_ERROR "${what} was not found. On Debian or Ubuntu:\n  ${LAYALIGN_APT_LINE}\n"
    "On a cluster: load its module and point CMAKE_PREFIX_PATH at it (docs/clusters.md).")
endfunction()

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(MPI COMPONENTS C)
if(NOT MPI_C_FOUND)
  layalign_missing("MPI (OpenMPI)")
endif()
# Some wrappers add -pthread: where it is needed Threads::Threads has it for all, and for some alone it would spoil the
# precompiled header (it defines _REENTRANT).
get_target_property(mpi_options MPI::MPI_C INTERFACE_COMPILE_OPTIONS)
if(mpi_options)
  list(FILTER mpi_options EXCLUDE REGEX "-pthread$")
  set_property(TARGET MPI::MPI_C PROPERTY INTERFACE_COMPILE_OPTIONS ${mpi_options})
endif()
foreach(package IN ITEMS yaml-cpp spdlog nlohmann_json CLI11)
  find_package(${package} CONFIG QUIET)
  if(NOT ${package}_FOUND)
    layalign_missing(${package})
  endif()
endforeach()

# One file uses it, through its C functions, and no communication: any flavour does, Debian's serial one is taken where there
# are several. 1.10.7: H5Pset_file_locking.
find_package(HDF5 1.10.7 COMPONENTS C QUIET)
if(NOT HDF5_FOUND)
  layalign_missing("HDF5 (1.10.7 or later, hdf5.h)")
endif()
add_library(layalign_hdf5 INTERFACE)
add_library(layalign::hdf5 ALIAS layalign_hdf5)
target_include_directories(layalign_hdf5 SYSTEM INTERFACE ${HDF5_INCLUDE_DIRS})
target_link_libraries(layalign_hdf5 INTERFACE ${HDF5_LIBRARIES})
if(HDF5_IS_PARALLEL)
  target_link_libraries(layalign_hdf5 INTERFACE MPI::MPI_C)  # its headers include mpi.h
endif()

# Without a CMake package of their own: header and library.
function(layalign_find_library target header library)
  find_path(${library}_INCLUDE_DIR ${header})
  find_library(${library}_LIBRARY ${library})
  if(NOT ${library}_INCLUDE_DIR OR NOT ${library}_LIBRARY)
    layalign_missing("${library} (${header})")
  endif()
  add_library(${target} UNKNOWN IMPORTED GLOBAL)
  set_target_properties(${target} PROPERTIES
    IMPORTED_LOCATION ${${library}_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${${library}_INCLUDE_DIR})
endfunction()
layalign_find_library(layalign::xxhash xxhash.h xxhash)
layalign_find_library(layalign::onig_library oniguruma.h onig)
# Oniguruma exports regcomp, regexec and regfree of its own: libc comes first, so that everybody else in the process keeps libc's.
add_library(layalign_onig INTERFACE)
add_library(layalign::onig ALIAS layalign_onig)
target_link_libraries(layalign_onig INTERFACE -l:libc.so.6 layalign::onig_library)
layalign_find_library(layalign::icuuc unicode/uchar.h icuuc)

# gperftools' malloc for the programs: it keeps what tensors free, where libc gives large blocks back to the kernel, which clears each
# of their pages when they are wanted again (docs/performance.md has what that brings). To come before libc it is linked first.
option(LAYALIGN_TCMALLOC "link the programs with gperftools' malloc" ON)
add_library(layalign_allocator INTERFACE)
add_library(layalign::allocator ALIAS layalign_allocator)
if(LAYALIGN_TCMALLOC AND NOT LAYALIGN_SANITIZE)
  find_library(tcmalloc_LIBRARY tcmalloc_minimal)
  if(tcmalloc_LIBRARY)
    target_link_libraries(layalign_allocator INTERFACE
      -Wl,--push-state,--no-as-needed ${tcmalloc_LIBRARY} -Wl,--pop-state)
  else()
    message(WARNING "tcmalloc_minimal (gperftools) was not found: on CPUs training will be slower and take more memory. On Debian or "
      "Ubuntu: sudo apt-get install -y --no-install-recommends libgoogle-perftools-dev")
  endif()
endif()

if(LAYALIGN_TESTS)
  find_package(GTest CONFIG QUIET)
  if(NOT GTest_FOUND)
    layalign_missing(GoogleTest)
  endif()
endif()
