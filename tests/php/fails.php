<?php
// Fails as it is asked to.
switch ($_SERVER['QUERY_STRING']) {
    case 'sleeps':
        sleep(20);
        break;
    case 'dies':
        echo str_repeat('x', 100000);
        flush();
        usleep(200000);
        exec('kill -9 ' . getmypid());
        break;
    case 'prints':
        echo 'printed ';
        header('X-Late: 1');
        error_log("first line\nsecond line");
        echo 'all the same';
        break;
    case 'large':
        for ($part = 0; $part < 320; $part++) {
            echo str_repeat(chr($part % 251), 65536);
        }
        break;
    case 'nothing':
        http_response_code(204);
        break;
    case 'elsewhere':
        header('Location: /there');
        break;
    case 'length':
        header('Content-Length: 3');
        echo 'abc';
        break;
    case 'throws':
        throw new Exception('asked for');
}
