# SPDX-License-Identifier: Apache-2.0
"""The upload page in headless Chromium. Screenshots go to log/."""

import hashlib
import os
import tempfile
import unittest
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from server import ROOT, Server, eventually

SIZE = 192 * 2**20
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-dev-shm-usage", "--window-size=1000,800")


class UploadPage(unittest.TestCase):
    def setUp(self):
        self.server = self.enterContext(Server("flaskapp:app"))
        profile = self.enterContext(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        options = webdriver.ChromeOptions()
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.browser = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
        self.addCleanup(self.browser.quit)
        self.browser.get(self.server.url())

    def text(self, element):
        return self.browser.find_element(By.ID, element).text

    def upload(self, path, finished):
        self.browser.find_element(By.ID, "file").send_keys(str(path))
        return eventually(lambda: finished(self.text("result")) and self.text("result"),
                          "the page shows a result", 60)

    def screenshot(self, name):
        folder = ROOT / "log"
        folder.mkdir(exist_ok=True)
        self.browser.save_screenshot(str(folder / name))

    def test_progress_is_shown_while_the_file_arrives(self):
        with tempfile.NamedTemporaryFile() as file:
            digest = hashlib.sha256()
            for _ in range(SIZE // 2**20):
                piece = os.urandom(2**20)
                digest.update(piece)
                file.write(piece)
            file.flush()
            result = self.upload(file.name, lambda text: "sha256" in text)
            self.assertEqual(result, f"sha256 {digest.hexdigest()}")
        seen = eventually(lambda: (values := self.browser.execute_script("return seen"))
                          and values[-1] == 100 and values, "the last state has come")
        self.screenshot("upload.png")
        self.assertEqual(seen, sorted(seen))
        between = [value for value in seen if 0 < value < 100]
        self.assertGreaterEqual(len(set(between)), 3, seen)
        self.assertIn("MB/s", self.text("rate"))
        self.assertEqual([entry for entry in self.browser.get_log("browser")
                          if entry["level"] == "SEVERE"], [])

    def test_an_empty_file_is_a_file(self):
        with tempfile.NamedTemporaryFile() as file:
            result = self.upload(file.name, lambda text: "sha256" in text)
        self.assertEqual(result, f"sha256 {hashlib.sha256().hexdigest()}")

    def test_the_page_says_when_the_server_is_gone(self):
        self.server.process.terminate()
        self.server.process.wait(30)
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"text")
            file.flush()
            self.upload(file.name, lambda text: "broke" in text)
        self.screenshot("upload-failed.png")

    def test_nothing_comes_from_elsewhere(self):
        names = self.browser.execute_script(
            "return performance.getEntriesByType('resource').map((entry) => entry.name)")
        self.assertTrue(all(name.startswith((self.server.url(), "data:")) for name in names), names)


if __name__ == "__main__":
    unittest.main()
