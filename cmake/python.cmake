# SPDX-License-Identifier: Apache-2.0
# Finds the Python to build for, or says what to install.
#
# A path rather than a search: the first python3 on the PATH may have no headers, or be another one
# than the tests run.
if(NOT EXISTS "${PENSTOCK_PYTHON}")
  message(FATAL_ERROR
    "No Python at ${PENSTOCK_PYTHON}. On Debian: apt-get install python3 python3-dev "
    "libpython3-dev. Another one, 3.11 or newer with a shared libpython: "
    "PENSTOCK_PYTHON=/path/to/python3.")
endif()
# FindPython3 caches what it found, for whichever Python that was.
if(NOT "${PENSTOCK_PYTHON}" STREQUAL "${PENSTOCK_PYTHON_FOUND}")
  get_cmake_property(cached CACHE_VARIABLES)
  list(FILTER cached INCLUDE REGEX "^_?Python3_")
  foreach(name ${cached})
    unset(${name} CACHE)
  endforeach()
  set(PENSTOCK_PYTHON_FOUND ${PENSTOCK_PYTHON} CACHE INTERNAL "")
endif()
set(Python3_EXECUTABLE ${PENSTOCK_PYTHON})
find_package(Python3 QUIET COMPONENTS Interpreter Development.Module Development.Embed)
if(Python3_VERSION AND Python3_VERSION VERSION_LESS 3.11)
  message(FATAL_ERROR
    "${PENSTOCK_PYTHON} is Python ${Python3_VERSION}; Penstock needs 3.11 or newer. On Debian 12: "
    "apt-get install python3 python3-dev libpython3-dev, and PENSTOCK_PYTHON=/usr/bin/python3.")
endif()
get_filename_component(python_library "${Python3_LIBRARIES}" NAME)
set(libpython "^libpython${Python3_VERSION_MAJOR}\\.${Python3_VERSION_MINOR}.*\\.so")
if(NOT Python3_Development.Module_FOUND OR NOT Python3_Development.Embed_FOUND
    OR NOT python_library MATCHES "${libpython}")
  message(FATAL_ERROR
    "${PENSTOCK_PYTHON} comes without its headers or a shared libpython. On Debian: apt-get "
    "install python3-dev libpython3-dev. A Python of your own must be built with "
    "--enable-shared.")
endif()
