<?php // Says by which process, how and with how many bytes it was asked; /chunked in three pieces.
header('Content-Type: text/plain');
if ($_SERVER['REQUEST_URI'] === '/chunked') {
    foreach (["one\n", "two\n", "three\n"] as $piece) {
        echo $piece;
        flush();
    }
} else {
    echo getmypid(), ' ', $_SERVER['REQUEST_METHOD'], ' ', strlen(file_get_contents('php://input')), "\n";
}
